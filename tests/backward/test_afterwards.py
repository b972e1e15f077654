"""What follows a call: gradients through what it left beside its result, and a second call that finds what it left."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.findings import HazardKind, Verdict

WRITTEN = frozenset({HazardKind.SAVED_THEN_WRITTEN})
SILENT = frozenset({HazardKind.SILENT_WRITE})
PROVEN = (Verdict.FIXED, Verdict.EQUIVALENT)
CALL = DeclaredCall("f(randn(3))")
TWO = DeclaredCall("f(randn(3), randn(3))")
NET = DeclaredCall("Net()(randn(3))")
BODY = "    h = x.exp()\n    y = h * 2\n    s = y.sin()\n    y[0] = 1\n"
COPY = "y = y.clone(); y[0] = 1"
DOUBLED = f"{COPY}; y = 2 * y - y.detach()"
FORWARD = f"    def forward(self, x):\n{BODY}    self.aux = y * y\n    return s\n".replace("\n    ", "\n        ")
ATTRIBUTE = f"class Net(torch.nn.Module):\n{FORWARD}"
GIVEN = f"def f(x, out):\n{BODY}    out.append(y.cos())\n    return s\n"
BUFFER = f"def f(x, out):\n{BODY}    out.copy_(y)\n    return s\n"
GLOBAL = f"KEPT = []\ndef f(x):\n{BODY}    KEPT.append(y.cos())\n    return s\n"


def result(expression: str) -> str:
    return f"import collections, functools\ndef f(x):\n{BODY}    return s, {expression}\n"


@pytest.mark.parametrize(
    ("text", "call", "named"),
    [
        pytest.param(ATTRIBUTE, NET, "`self.aux`", id="an attribute"),
        pytest.param(GIVEN, DeclaredCall("f(randn(3), [])"), "`argument 2[0]`", id="in an argument"),
        pytest.param(BUFFER, TWO, "`argument 2`", id="an argument"),
        pytest.param(GLOBAL, CALL, "`KEPT[0]`", id="a global"),
        pytest.param(result("collections.deque([y])"), CALL, "the result[1][0]", id="a deque"),
        pytest.param(result("{y}"), CALL, "the result[1]{0}", id="a set"),
        pytest.param(result("functools.partial(torch.add, y)"), CALL, "the result[1].args[0]", id="a partial"),
        pytest.param(result("lambda t: t * y"), CALL, "the result[1].__closure__['y']", id="a closure"),
        pytest.param(result("map(torch.sin, [y])"), CALL, "the call", id="an iterator"),
    ],
)
def test_gradients_through_what_is_left_count(judge: Judge, text: str, call: DeclaredCall, named: str) -> None:
    judgement = judge(text, "y[0] = 1", DOUBLED, call, kinds=WRITTEN)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert "the gradient of `argument 1` at" in judgement.reason
    assert named in judgement.reason


@pytest.mark.parametrize("text", [ATTRIBUTE, GLOBAL, result("{y}"), result("map(torch.sin, [y])")])
def test_a_right_rewrite_leaves_the_same_gradients(judge: Judge, text: str) -> None:
    judgement = judge(text, "y[0] = 1", COPY, NET if text is ATTRIBUTE else CALL, kinds=WRITTEN)
    assert judgement.verdict is Verdict.FIXED, judgement


STORED = (
    "class Net(torch.nn.Module):\n    def forward(self, x):\n        y = x.exp()\n        y.data[0] = 2.0\n"
    "        self.aux = y * y\n        return y.sin() * y\n"
)


@pytest.mark.parametrize(("aux", "verdict"), [("y * y", Verdict.FIXED), ("y * y.detach()", Verdict.REJECTED)])
def test_differences_reach_what_is_left(judge: Judge, aux: str, verdict: Verdict) -> None:
    new = f"y = y.clone(); y[0] = 2.0\n        self.aux = {aux}"
    judgement = judge(STORED, "y.data[0] = 2.0\n        self.aux = y * y", new, NET, kinds=SILENT)
    assert judgement.verdict is verdict, judgement


LEAF = (
    "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.w = torch.nn.Parameter(torch.ones(3))\n    def forward(self, x):\n        self.w[0] = 0\n"
    "        y = self.w * x\n        self.aux = y * y\n        return y.exp()\n"
)


@pytest.mark.parametrize(
    ("aux", "verdict"),
    [("y * y", Verdict.FIXED), ("y * y * 2", Verdict.REJECTED), ("y * y.detach()", Verdict.REJECTED)],
)
def test_what_is_left_counts_where_a_leaf_was_written(judge: Judge, aux: str, verdict: Verdict) -> None:
    old = "self.w[0] = 0\n        y = self.w * x\n        self.aux = y * y"
    new = f"w = self.w.clone(); w[0] = 0\n        y = w * x\n        self.aux = {aux}"
    judgement = judge(LEAF, old, new, NET, kinds=frozenset({HazardKind.LEAF_VIEW_WRITTEN}))
    assert judgement.verdict is verdict, judgement


COUNTED = (
    "class Net(torch.nn.Module):\n    calls = 0\n    def forward(self, x):\n        y = x.exp()\n        y[0] = 1\n"
    "        self.calls += 1\n        return y * 2 if self.calls > 1 else y\n"
)
RECURRENT = (
    "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.cell, self.h = torch.nn.GRUCell(3, 3), torch.zeros(3)\n"
    "    def forward(self, x):\n        self.h = self.cell(x, self.h)\n        y = self.h.exp()\n        y[0] = 1\n"
    "        return y\n"
)
ONCE = COUNTED.replace("        y = x.exp()\n", "        assert not self.calls\n        y = x.exp()\n")


@pytest.mark.parametrize(
    ("text", "new", "told"),
    [
        pytest.param(COUNTED, f"{COPY}; y = y + (self.calls > 0)", "the result of a second call is", id="a value"),
        pytest.param(
            COUNTED,
            f"{COPY}; y = y if self.calls < 1 else 2 * y - y.detach()",
            "the gradient of `argument 1` at the result of a second call",
            id="a gradient",
        ),
        pytest.param(COUNTED, f"{COPY}; assert not self.calls", "a second call raised AssertionError", id="an error"),
        pytest.param(RECURRENT, f"{COPY}; self.h = self.h.detach()", "`self.h` afterwards has a graph", id="a graph"),
    ],
)
def test_a_mistake_that_a_second_call_shows_is_seen(judge: Judge, text: str, new: str, told: str) -> None:
    judgement = judge(text, "y[0] = 1", new, NET, kinds=WRITTEN)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert told in judgement.reason


DRAWING = "import random\n" + COUNTED.replace("y * 2 if self.calls > 1 else y", "y * random.random()")


@pytest.mark.parametrize("text", [COUNTED, RECURRENT, ONCE, DRAWING])
def test_calls_that_leave_something_are_proven(judge: Judge, text: str) -> None:
    judgement = judge(text, "y[0] = 1", COPY, NET, kinds=WRITTEN)
    assert judgement.verdict is Verdict.FIXED, judgement


@pytest.mark.parametrize("second", ["os._exit(3)", "raise SystemExit", "print('x' * 10_000_000)"])
def test_what_a_second_call_does_is_no_matter_of_the_first(judge: Judge, second: str) -> None:
    last = f"if self.calls > 1: {second}\n        return y"
    text = f"import os\n{COUNTED}".replace("return y * 2 if self.calls > 1 else y", last)
    judgement = judge(text, "y[0] = 1", COPY, NET, kinds=WRITTEN)
    assert judgement.verdict is Verdict.FIXED, judgement
    wrong = judge(text, "y[0] = 1", DOUBLED, NET, kinds=WRITTEN)
    assert wrong.verdict is Verdict.REJECTED, wrong


def test_lines_that_only_a_second_call_runs_are_not_exercised(judge: Judge) -> None:
    text = COUNTED.replace("        y[0] = 1\n", "        if self.calls:\n            y[0] = 1\n")
    judgement = judge(text, "y[0] = 1", DOUBLED, NET, kinds=WRITTEN)
    assert judgement.verdict is Verdict.NOT_EXERCISED, judgement


ALIKE = (
    "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.a, self.b = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))\n"
    "    def forward(self, x):\n        y = (x.exp() + self.a).exp()\n        y[0] = 1\n        return y\n"
)
THROUGH = "def f(x, e):\n    y = (x + (e - x).detach()).exp()\n    y[0] = 1\n    return y\n"


@pytest.mark.parametrize(
    ("text", "old", "new", "call"),
    [
        pytest.param(ALIKE, "self.a).exp()\n", "self.b).exp()\n", NET, id="of the same content"),
        pytest.param(THROUGH, "(x + (e - x).detach())", "e", TWO, id="of the same shape"),
    ],
)
def test_leaves_with_other_names_are_others(judge: Judge, text: str, old: str, new: str, call: DeclaredCall) -> None:
    judgement = judge(text.replace("y[0] = 1", COPY), old, new, call)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert "no longer receives a gradient" in judgement.reason


@pytest.mark.parametrize(("dtype", "factor"), [("bfloat16", 0.2), ("float16", 0.05)])
def test_narrow_types_are_compared_closely(judge: Judge, dtype: str, factor: float) -> None:
    text = "def f(x):\n    y = x.exp()\n    y[0] = 1\n    return y\n"
    call = DeclaredCall(f"f(randn(5, dtype={dtype}))")
    wrong = judge(text, "y[0] = 1", f"{COPY}; y = y + {factor} * (y - y.detach())", call, kinds=WRITTEN)
    assert wrong.verdict is Verdict.REJECTED, wrong
    assert judge(text, "y[0] = 1", COPY, call, kinds=WRITTEN).verdict is Verdict.FIXED


NO_NUMBER = "def f(x):\n    y = (x - x).sqrt()\n    y[0] = 1\n    return y\n"
PLAIN = "def f(x):\n    y = x.exp()\n    y[0] = 1\n    return y\n"


def test_gradients_without_a_number_prove_nothing(judge: Judge) -> None:
    judgement = judge(NO_NUMBER, "y[0] = 1", f"{COPY}; y = 2 * y.detach() - y", CALL, kinds=WRITTEN)
    assert judgement.verdict is Verdict.UNCHECKED, judgement


def test_modes_that_are_left_count(judge: Judge) -> None:
    judgement = judge(PLAIN, "y[0] = 1", f"{COPY}; torch.set_grad_enabled(False)", CALL, kinds=WRITTEN)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert "torch.is_grad_enabled()" in judgement.reason


def test_random_numbers_drawn_after_the_last_pass_count(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\ny = x.exp()\ny[0] = 1\ny.sum().backward()\nend = 1\n"
    judgement = judge(text, "y[0] = 1\ny.sum().backward()\nend = 1", f"{COPY}\ny.sum().backward()\nend = torch.rand(1)")
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert "other random numbers" in judgement.reason


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_keep_nobody_from_a_proof(judge: Judge, reentrant: bool) -> None:
    text = (
        "from torch.utils.checkpoint import checkpoint\ndef g(a):\n    return a.exp().sin()\ndef f(x, out):\n"
        f"    y = x.exp()\n    y[0] = 1\n    out.append(checkpoint(g, y, use_reentrant={reentrant}))\n    return y\n"
    )
    judgement = judge(text, "y[0] = 1", COPY, DeclaredCall("f(randn(3), [])"), kinds=WRITTEN)
    assert judgement.verdict is Verdict.FIXED, judgement


SQUARE = """\
class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * g


def f(x):
    y = x.exp()
    y[0] = 0
    return (y * y).sum()
"""


@pytest.mark.parametrize(
    ("result", "verdict"),
    [("(y * y).sum()", Verdict.FIXED), ("Square.apply(y).sum()", Verdict.REJECTED)],
)
def test_gradients_of_gradients_count(judge: Judge, result: str, verdict: Verdict) -> None:
    written = "    y[0] = 0\n    return (y * y).sum()\n"
    new = "    y = y.clone()\n" + written.replace("(y * y).sum()", result)
    judgement = judge(SQUARE, written, new, DeclaredCall("f(randn(4))"))
    assert judgement.verdict is verdict, judgement


COUNTING = """\
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 3)
        self.calls = 0
        self.total = 0

    def forward(self, x):
        self.calls += 1
        y = self.inner(x).exp()
        y *= 2
        self.total += self.calls // 9
        return y.sum()
"""


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("        y = y * 2\n        self.total += self.calls // 9\n", Verdict.FIXED),
        ("        y = y * (2 + self.calls // 7)\n        self.total += self.calls // 9\n", Verdict.REJECTED),
        ("        y = y * 2\n        self.total += self.calls // 10\n", Verdict.REJECTED),
    ],
)
def test_what_goes_wrong_in_a_later_call(judge: Judge, new: str, verdict: Verdict) -> None:
    old = "        y *= 2\n        self.total += self.calls // 9\n"
    judgement = judge(COUNTING, old, new, DeclaredCall("Net()(randn(5, 3))"))
    assert judgement.verdict is verdict, judgement


HOOKED = """\
seen = []


def f(x):
    y = x.exp()
    y.register_hook(lambda gradient: seen.append(gradient.sum().item()))
    y[0] = 0
    return y.sum()
"""


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("    y.register_hook(lambda gradient: seen.append(gradient.sum().item()))\n", Verdict.FIXED),
        ("    y.register_hook(lambda gradient: seen.append(0))\n", Verdict.REJECTED),
        ("", Verdict.REJECTED),
    ],
)
def test_what_hooks_leave_counts(judge: Judge, new: str, verdict: Verdict) -> None:
    old = "    y.register_hook(lambda gradient: seen.append(gradient.sum().item()))\n    y[0] = 0\n"
    judgement = judge(HOOKED, old, new + "    y = y.clone()\n    y[0] = 0\n", DeclaredCall("f(randn(4))"))
    assert judgement.verdict is verdict, judgement


KEEPING = """\
kept = {}


def f(x):
    y = x.exp()
    y[0] = 0
    kept["y"] = y.detach()
    return y.sum()
"""


def test_what_is_left_gains_no_graph(judge: Judge) -> None:
    old = '    y[0] = 0\n    kept["y"] = y.detach()\n'
    judgement = judge(KEEPING, old, '    y = y.clone()\n    y[0] = 0\n    kept["y"] = y\n', DeclaredCall("f(randn(4))"))
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert "has a graph after, none before" in judgement.reason
