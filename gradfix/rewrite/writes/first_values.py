"""Whether a write gives a parameter its first values, before anything is computed with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from gradfix.analysis.facts import Tracked, ValueKind, Write
from gradfix.analysis.text.builtin_names import builtin
from gradfix.findings import Applicability
from gradfix.rewrite.grounds.places import root_of
from gradfix.rewrite.text import names
from gradfix.source import Source

# The same in `gradfix.backward.worker.parameters`, which runs where gradfix can't be imported.
INITIAL = re.compile(r"__init__|(\w*_)?(re)?(init|initiali[sz]e|reset)(_\w*)?")
# Methods of a module or a parameter that compute nothing with it.
_QUIET = frozenset(
    "parameters named_parameters modules named_modules children named_children buffers state_dict load_state_dict "
    "apply to cuda cpu train eval double float half size numel dim t view reshape transpose diagonal".split()
)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_READING = frozenset({"print", "len", "list", "zip", "enumerate"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def grade_of_first_values(source: Source, write: Write) -> Applicability | None:
    """How sure it is that nobody differentiates by what the write overwrites; None where nothing says so.

    Safe in `__init__` and methods and functions called like it, and where a module was made in the same scope and
    hasn't been called yet, of values that autograd doesn't follow. Unsafe where they may have a graph.
    """
    initial = INITIAL.fullmatch(write.function.rsplit(".", 1)[-1]) is not None
    if not ((initial and _is_own(write)) or (write.of_module and _is_unused(source, write))):
        return None
    value = write.written
    if value.kind in (ValueKind.NUMBER, ValueKind.NOTHING):
        return Applicability.SAFE
    level = Tracked.MAYBE if value.tensor is None else value.tensor.tracked
    if level is Tracked.YES:
        return None
    return Applicability.SAFE if level is Tracked.NO else Applicability.UNSAFE


def leaf_of(write: Write) -> ast.expr:
    """`w` of `w[0].view(-1)[1:]`."""
    root = root_of(write.target)
    while isinstance(root, ast.Subscript):
        root = root.value
    return root


def _is_own(write: Write) -> bool:
    """A parameter of a module, or what an object holds of its own."""
    leaf = leaf_of(write)
    own = isinstance(leaf, ast.Attribute) and isinstance(leaf.value, ast.Name) and leaf.value.id == "self"
    return own or write.of_module


def _is_unused(source: Source, write: Write) -> bool:
    """Whether the module that has the parameter was made in the same scope, and nobody got or called it since."""
    scope = names.scope_of(source, write.statement)
    owner = _owner(scope, write)
    if owner is None or not isinstance(scope, (ast.Module, *_FUNCTIONS)):
        return False
    place = (write.statement.lineno, write.statement.col_offset)
    made = [s for s in _assignments(scope) if _binds(s, owner) and (s.lineno, s.col_offset) < place]
    if not made or not all(isinstance(s.value, ast.Call) for s in made):
        return False
    since = (made[-1].end_lineno or 0, made[-1].end_col_offset or 0)
    until = max([place, *(_end(loop) for loop in _loops(scope) if _spans(loop, place))])
    between = (call for call in _calls(scope) if since <= (call.lineno, call.col_offset) < until)
    return not any(_uses(call, owner) for call in between)


def _owner(scope: ast.AST, write: Write) -> str | None:
    """`net` of `net.fc.weight[0]`, or of `p` in a loop over `net.parameters()`; None for a leaf that has a name."""
    leaf = leaf_of(write)
    root = _name_at_root(leaf)
    place = (write.statement.lineno, write.statement.col_offset)
    for loop in reversed([loop for loop in _loops(scope) if _spans(loop, place)]):
        if not isinstance(loop, ast.While) and root in {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)}:
            owners = {_name_at_root(part) for part in _walked(loop.iter)}
            return owners.pop() if len(owners) == 1 else None
    if not isinstance(leaf, ast.Name):
        return root
    bound = [s for s in _assignments(scope) if _binds(s, leaf.id)]  # `row = net.fc.weight[0]`
    is_view = len(bound) == 1 and isinstance(bound[0].value, (ast.Attribute, ast.Subscript, ast.Call))
    return _name_at_root(bound[0].value) if is_view and (bound[0].lineno, bound[0].col_offset) < place else None


def _walked(node: ast.expr) -> Iterator[ast.expr]:
    """What a loop goes over: `net.parameters()` of `enumerate(net.parameters())`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        for argument in node.args:
            yield from _walked(argument)
    else:
        yield node


def _name_at_root(node: ast.expr) -> str | None:
    while not isinstance(node, ast.Name):
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return None
    return node.id


@lru_cache(maxsize=1)
def _assignments(scope: ast.AST) -> tuple[ast.Assign, ...]:
    found = [node for node in ast.walk(scope) if isinstance(node, ast.Assign)]
    return tuple(sorted(found, key=lambda s: (s.lineno, s.col_offset)))


@lru_cache(maxsize=1)
def _calls(scope: ast.AST) -> tuple[ast.Call, ...]:
    return tuple(node for node in ast.walk(scope) if isinstance(node, ast.Call))


def _binds(statement: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in statement.targets)


def _uses(call: ast.Call, owner: str) -> bool:
    """`net(x)`, `net.fc(x)`, `train(net)`; not `net.parameters()`, `nn.init.zeros_(net.weight)`, `net.w.fill_(0)`."""
    if builtin(call.func) in _READING or ast.unparse(call.func).startswith(("nn.init.", "init.", "torch.nn.init.")):
        return False
    if any(isinstance(n, ast.Name) and n.id == owner for a in call.args for n in ast.walk(a)):
        return not _hands_over_parameters(call, owner)
    last = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return _name_at_root(call.func) == owner and not (last in _QUIET or last.endswith("_"))


def _hands_over_parameters(call: ast.Call, owner: str) -> bool:
    """`optim.SGD(net.parameters())`."""
    mentioned = [a for a in call.args if any(isinstance(n, ast.Name) and n.id == owner for n in ast.walk(a))]
    return all(
        isinstance(a, ast.Call) and isinstance(a.func, ast.Attribute) and a.func.attr in _QUIET for a in mentioned
    )


@lru_cache(maxsize=1)
def _loops(scope: ast.AST) -> tuple[ast.For | ast.AsyncFor | ast.While, ...]:
    return tuple(node for node in ast.walk(scope) if isinstance(node, _LOOPS))


def _spans(node: ast.stmt, place: tuple[int, int]) -> bool:
    return (node.lineno, node.col_offset) < place < _end(node)


def _end(node: ast.stmt) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0
