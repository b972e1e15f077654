"""Programs that catch autograd's errors and go on: whose error counts, and what becomes of what is done about it."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
from conftest import Judge

from gradfix.backward.protocol import Ended, Event, Raised, Run
from gradfix.backward.reaching import reaches_backward
from gradfix.backward.verdict.failures import apart, failures_of
from gradfix.findings import HazardKind, Verdict

SAVED = "one of the variables needed for gradient computation has been modified by an inplace operation"
LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
NUMPY = "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
SAME = {n: n for n in range(1, 99)}


def run(*passes: Raised | None, caught: tuple[tuple[int, Raised], ...] = ()) -> Run:
    events = tuple(Event("backward", 1, "r", (), (), error, ()) for error in passes)
    return Run(events, None, 0.1, None, 0, 0, "", "", caught=caught)


def error(message: str, line: int) -> Raised:
    return Raised("RuntimeError", message, line)


def test_errors_come_in_the_order_of_the_run() -> None:
    both = run(error(SAVED, 3), None, caught=((0, error(LEAF, 2)), (1, error(LEAF, 5)), (2, error("mine", 6))))
    assert [(one.index, one.error.line, one.passing) for one in failures_of(both)] == [
        (0, 2, False),
        (0, 3, True),
        (1, 5, False),
    ]


def test_what_both_texts_meet_is_nobodys() -> None:
    before = run(error(SAVED, 3), caught=((1, error(LEAF, 5)),))
    after = run(error(SAVED, 3), None)
    failure, again = apart(before, after, SAME, set())
    assert failure is not None
    assert (failure.index, failure.error.line, again) == (1, 5, None)
    assert {line for _, line in failure.besides} == {3}


def test_lines_are_those_of_the_original() -> None:
    before, after = run(error(SAVED, 3)), run(error(SAVED, 4))
    assert all(apart(before, after, {4: 3}, {HazardKind.SAVED_THEN_WRITTEN}))  # both: whose it is, conflicts tell
    failure, again = apart(run(error(SAVED, 3), error(SAVED, 7)), after, {4: 3, 8: 7}, set())
    assert failure is not None
    assert (failure.error.line, again) == (7, None)


def test_what_is_caught_later_is_nobodys_where_the_original_ended() -> None:
    ended = Ended(error(SAVED, 3), False, frozenset(), frozenset(), "r", (), (), (), {}, {}, 1)
    before = replace(run(error(SAVED, 3)), ended=ended)
    after = run(None, None, caught=((1, error(LEAF, 5)),))
    failure, again = apart(before, after, SAME, {HazardKind.SAVED_THEN_WRITTEN})
    assert failure is not None
    assert ({line for _, line in failure.besides}, again) == ({5}, None)
    _, again = apart(before, after, {3: 3}, {HazardKind.SAVED_THEN_WRITTEN})  # line 5 is the rewrite's own
    assert again is not None


def test_one_less_of_the_same_is_no_proof() -> None:
    before, after = run(error(SAVED, 3), error(SAVED, 3)), run(error(SAVED, 3), None)
    assert all(apart(before, after, SAME, set()))


def test_an_error_that_only_asks_is_no_failure() -> None:
    both = run(None, caught=((0, error(NUMPY, 2)),))
    assert apart(both, both, SAME, {HazardKind.SAVED_THEN_WRITTEN}) == (None, None)


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        pytest.param("for case in (f, g):\n    case()\n", True, id="a loop over functions"),
        pytest.param("CASES = {'f': f}\nCASES['f']()\n", True, id="a table of functions"),
        pytest.param("CASES = {'g': g}\n", False, id="a table of others"),
    ],
)
def test_functions_in_displays_are_called(text: str, reached: bool) -> None:
    defined = "def f(x):\n    x.sum().backward()\ndef g(x):\n    return x\n"
    assert reaches_backward(ast.parse(defined + text)) is reached


CASES = """\
def saved():
    x = torch.randn(3, requires_grad=True)
    y = x.exp()
    y[0] = 10
    y.sum().backward()
    return x.grad
def leaf():
    x = torch.randn(3, requires_grad=True)
    x[0] = 1.0
    x.sum().backward()
    return x.grad
def other():
    w = torch.randn(3, requires_grad=True)
    w[1] = 2.0
    (w * w).sum().backward()
    return w.grad
for case in (saved, leaf, other):
    try:
        print(case.__name__, case())
    except RuntimeError as error:
        print(case.__name__, "failed:", error)
"""
LEAF_OLD = "    x[0] = 1.0\n    x.sum().backward()"
LEAF_NEW = "    c = x.clone()\n    c[0] = 1.0\n    c.sum().backward()"
PROBED = """\
w = torch.randn(3, requires_grad=True)
try:
    array = w.numpy()
except RuntimeError:
    array = w.detach().numpy()
y = w.exp()
y[0] = 10
y.sum().backward()
print(array, w.grad)
"""
EXPECTED = """\
import contextlib
x = torch.randn(3, requires_grad=True)
y = x.exp()
y[0] = 10
raised = False
try:
    y.sum().backward()
except RuntimeError:
    raised = True
assert raised, "this can't be"
"""


@pytest.mark.parametrize(
    ("text", "old", "new", "kind"),
    [
        pytest.param(CASES, "    y[0] = 10", "    y = y.clone(); y[0] = 10", HazardKind.SAVED_THEN_WRITTEN, id="saved"),
        pytest.param(CASES, LEAF_OLD, LEAF_NEW, HazardKind.LEAF_WRITTEN, id="leaf, and another one stays"),
        pytest.param(PROBED, "y[0] = 10", "y = y.clone(); y[0] = 10", HazardKind.SAVED_THEN_WRITTEN, id="asked first"),
    ],
)
def test_a_caught_error_that_is_gone_is_no_difference(
    judge: Judge, text: str, old: str, new: str, kind: HazardKind
) -> None:
    judgement = judge(text, old, new, kinds=frozenset({kind}))
    assert judgement.verdict is Verdict.FIXED, judgement.reason


@pytest.mark.parametrize(
    ("text", "old", "new", "kind"),
    [
        pytest.param(CASES, LEAF_OLD, LEAF_NEW.replace("1.0", "1.5"), HazardKind.LEAF_WRITTEN, id="another value"),
        pytest.param(CASES, "x[0] = 1.0", "x[0] = 1.0 + 0", HazardKind.LEAF_WRITTEN, id="the same write"),
        pytest.param(
            CASES,
            "    y[0] = 10\n",
            "    y = y.clone(); y[0] = 10\n    try:\n        x[0] = 0\n    except RuntimeError:\n        pass\n",
            HazardKind.SAVED_THEN_WRITTEN,
            id="an error of its own, swallowed",
        ),
        pytest.param(
            EXPECTED, "y[0] = 10", "y = y.clone(); y[0] = 10", HazardKind.SAVED_THEN_WRITTEN, id="it must raise"
        ),
    ],
)
def test_what_is_swallowed_hides_nothing(judge: Judge, text: str, old: str, new: str, kind: HazardKind) -> None:
    assert judge(text, old, new, kinds=frozenset({kind})).verdict is Verdict.REJECTED
