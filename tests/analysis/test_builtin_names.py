"""Which names are Python's own, by the text alone."""

from __future__ import annotations

import ast
import builtins

import pytest

from gradfix.analysis.text.builtin_names import BUILTINS, bound_by, builtin, mark_others

OTHERS = {
    "a function of the file": "def range(n):\n    return n\n\n\ndef f():\n    return range(3)\n",
    "one that is defined later": "def f():\n    return range(3)\n\n\ndef range(n):\n    return n\n",
    "a class": "class range:\n    pass\n\n\nrange(3)\n",
    "a parameter": "def f(range):\n    return range(3)\n",
    "any other parameter": "def f(*, range=None, **more):\n    return range(3)\n",
    "a parameter of a lambda": "f = lambda range: range(3)\n",
    "a parameter of the function around": "def f(range):\n    def g():\n        return range(3)\n    return g\n",
    "an import": "from numpy import arange as range\nrange(3)\n",
    "an import in the function": "def f():\n    import range\n    return range(3)\n",
    "a star": "from torch import *\nrange(3)\n",
    "a variable of the module": "range = list\n\n\ndef f():\n    return range(3)\n",
    "a variable that is set later": "def f():\n    a = range(3)\n    range = a\n",
    "the variable of a loop": "for range in (list, tuple):\n    range(3)\n",
    "what a context gives": "with open('x') as range:\n    range(3)\n",
    "an error": "try:\n    pass\nexcept ValueError as range:\n    range(3)\n",
    "a walrus": "if (range := list):\n    range(3)\n",
    "a capture": "match f:\n    case [range, *_]:\n        range(3)\n",
    "the rest of a mapping": "match f:\n    case {'a': 1, **range}:\n        range(3)\n",
    "what another function makes global": "def g():\n    global range\n    range = list\n\n\ndef f():\n    range(3)\n",
    "an attribute in the body of its class": "class A:\n    range = list\n    rows = range(3)\n",
    "a default of a function in it": "class A:\n    range = list\n\n    def f(self, n=range(3)):\n        ...\n",
}
OWN = {
    "nothing binds it": "def f():\n    return range(3)\n",
    "another function has it": "def g(range):\n    return range\n\n\ndef f():\n    return range(3)\n",
    "a default stands outside": "def f(n=range(3), *, range=None):\n    return n\n",
    "a decorator stands outside": "@cached(range(3))\ndef f(range):\n    return 1\n",
    "a method is no name": "class A:\n    def range(self):\n        return range(3)\n",
    "nor an attribute": "self.range = 3\nself.range(range(3))\n",
    "nor a keyword": "f(range=range(3))\n",
    "it is imported from where it is": "from builtins import range\nrange(3)\n",
    "a star of what has no such name": "from numpy import *\nfrom .layers import *\nfrom torch.nn import *\nrange(3)\n",
    "it is imported as of another Python": "from six.moves import range, zip\nrange(3)\n",
}


STARS = {
    "torch": {"range", "sum", "float", "pow"},
    "numpy": {"sum", "divmod", "pow"},
    "torch.nn": set(),
    "math": {"pow"},
    ".layers": {"sum", "divmod", "pow"},
}


@pytest.mark.parametrize("module", STARS)
def test_stars(module: str) -> None:
    """A module that nobody knows may pass on what NumPy has."""
    names = {"range", "sum", "float", "pow", "divmod", "len", "isinstance"}
    tree = mark_others(ast.parse(f"from {module} import *\n" + "\n".join(sorted(names))))
    other = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not builtin(node)}
    assert other == STARS[module]


@pytest.mark.parametrize("module", ["torch", "numpy", "math", "torch.nn", "torch.nn.functional", "typing"])
def test_stars_hold_what_is_said(module: str) -> None:
    pytest.importorskip(module.partition(".")[0])
    found: dict[str, object] = {}
    exec(f"from {module} import *", found)
    taken = {name for name in BUILTINS & found.keys() if found[name] is not getattr(builtins, name)}
    star = ast.parse(f"from {module} import *").body[0]
    assert {name for name in taken if not name.startswith("__")} <= set(bound_by(star))


def calls(text: str) -> list[str]:
    """What is called with the number 3, of Python's own or ""."""
    nodes = (node for node in ast.walk(mark_others(ast.parse(text))) if isinstance(node, ast.Call))
    return [builtin(node.func) for node in nodes if ast.unparse(node) == "range(3)"]


@pytest.mark.parametrize("name", OTHERS)
def test_others(name: str) -> None:
    assert calls(OTHERS[name]) == [""]


@pytest.mark.parametrize("name", OWN)
def test_own(name: str) -> None:
    assert calls(OWN[name]) == ["range"]
