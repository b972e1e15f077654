"""Several runs in one process: only where that was shown to give the same, never the last word against a rewrite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lending import Lender

from gradfix.backward.cases import Case, DeclaredCall, Program
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.backward.protocol import Ended, Event, Run, run_of
from gradfix.backward.verdict import judge
from gradfix.backward.verdict.evidence import Subject, Way
from gradfix.backward.verdict.together import Together
from gradfix.backward.worker.messages import BETWEEN, UseMessage
from gradfix.backward.worker.requests import Plan, Request
from gradfix.findings import HazardKind, Verdict

BARE = Request(path="/f.py", text="", cwd="/", seconds=1.0, backwards=1)
GROUP = [replace(BARE, plan=Plan(direction=0, step=step)) for step in (0.0, 1.0, -1.0)]
ENDED = Ended(None, True, frozenset(), frozenset(), "", (), (), (), {}, {}, 0)
EVENT = Event("backward", None, "", (), (), None, ())


class Maker:
    """Gives each request an objective: `alone` in a process of its own, `later` for those that follow in one."""

    def __init__(self, alone: float, later: float, *, stopped: bool = True) -> None:
        self.made: list[Request] = []
        self._alone, self._later, self._stopped = alone, later, stopped

    def __call__(self, request: Request) -> Run:
        self.made.append(request)
        further = tuple(self._run(self._later) for _ in request.further)
        return replace(self._run(self._alone), further=further)

    def _run(self, objective: float) -> Run:
        event, ended = replace(EVENT, objective=objective), replace(ENDED, stopped=self._stopped)
        return Run((event,), ended, 0.1, None, 0, 0, "", "")


def asked(together: Together, *, settle: bool = True) -> list[float | None]:
    together.ahead(GROUP)
    found = [together(request).events[0].objective for request in GROUP]
    if settle:
        together.settle()
    return found


def test_what_agrees_the_first_time_counts_from_then_on() -> None:
    make = Maker(1.0, 1.0)
    together = Together(make, 0.1)
    assert asked(together) == [1.0] * 3
    assert len(make.made) == 1 + 3
    assert asked(together) == [1.0] * 3
    assert len(make.made) == 1 + 3 + 1


def test_what_is_no_number_agrees_with_itself() -> None:
    make = Maker(float("nan"), float("nan"))
    together = Together(make, 0.1)
    asked(together)
    asked(together)
    assert len(make.made) == 1 + 3 + 1


def test_what_differs_is_asked_of_processes_of_their_own() -> None:
    make = Maker(1.0, 2.0)
    together = Together(make, 0.1)
    assert asked(together) == asked(together) == [1.0] * 3
    assert len(make.made) == 1 + 3 + 3


def test_what_was_not_compared_counts_for_nothing() -> None:
    make = Maker(1.0, 2.0)
    together = Together(make, 0.1)
    together.ahead(GROUP)
    assert not together.alone()
    assert asked(together) == [1.0] * 3


def test_a_group_of_which_nothing_was_compared_is_compared_later() -> None:
    make = Maker(1.0, 2.0)
    together = Together(make, 0.1)
    together.ahead(GROUP[:1], GROUP[1:])
    assert together(GROUP[0]).events[0].objective == 1.0
    together.settle()
    assert [together(request).events[0].objective for request in GROUP[1:]] == [1.0] * 2


def test_what_speaks_against_a_rewrite_is_asked_again() -> None:
    make = Maker(1.0, 1.0)
    together = Together(make, 0.1)
    asked(together)
    assert together.alone()
    assert not together.alone()
    assert asked(together) == [1.0] * 3


def test_what_could_not_be_stopped_is_made_again() -> None:
    make = Maker(1.0, 2.0, stopped=False)
    together = Together(make, 0.1)
    assert asked(together) == asked(together) == [1.0] * 3


def test_slow_runs_are_made_one_by_one() -> None:
    make = Maker(1.0, 2.0)
    assert asked(Together(make, 5.0)) == [1.0] * 3
    assert make.made == GROUP


def test_each_run_of_a_process_has_its_own_report_and_output() -> None:
    raised = {"type": "E", "message": "m", "line": 1}
    end: UseMessage = {"seconds": 1, "killed": None, "status": 0, "left": 0, "output": f"a{BETWEEN}b", "errors": ""}
    ended = {"error": None, "stopped": True, "executed": [], "executable": [], "rng": "", "stops": [], "conflicts": []}
    rest = {"arguments": [], "results": [], "state": {}, "gradients": {}, "sharing": None, "passes": 0}
    rest |= {"seconds": 0, "memory": 0}
    first, second = {**ended, **rest}, {**ended, **rest, "error": raised}
    run = run_of([{"ended": first}, {"ended": second}], end, 1)
    assert (run.output, [one.output for one in run.further]) == ("a", ["b"])
    assert [one.ended is not None and str(one.ended.error) for one in run.further] == ["E: m"]


MEMO = "known = {}\ndef once(key, value):\n    return known.setdefault(key, value)\n"
SWALLOWED = """\
import torch
def f(x):
    loss = torch.tensor(float((x.exp() * x).sum()))
    try:
        loss.backward()
    except BaseException as error:
        if "grad" in str(error):
            raise
    return x
"""
REMEMBERED = """\
import torch
from memo import once
def f(x):
    y = once("y", x.exp())
    return torch.tensor(float((y * y).sum()))
"""
CALL = DeclaredCall("f(randn(3))")


MARKED = """\
import torch
def f(x):
    y = x.exp()
    y[0] = 2.0
    torch.made = getattr(torch, "made", 0) + 1
    return (y * torch.made).sum(){}
"""


@pytest.fixture(scope="module")
def project(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Checker]]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "memo.py").write_text(MEMO)
    with lender.checker(cwd=folder) as checker:
        yield folder, checker


@pytest.mark.parametrize("text", [SWALLOWED, REMEMBERED], ids=["swallowed", "remembered"])
@pytest.mark.parametrize(
    ("new", "verdict"), [("{}", Verdict.FIXED), ("{0}.detach() + 0 * {0}", Verdict.REJECTED)], ids=["right", "cut"]
)
def test_runs_that_disturb_each_other_are_judged_one_by_one(
    text: str, new: str, verdict: Verdict, project: tuple[Path, Checker]
) -> None:
    folder, checker = project
    cut = "torch.tensor(float({}))"
    inner = "(x.exp() * x).sum()" if cut.format("(x.exp() * x).sum()") in text else "(y * y).sum()"
    after = text.replace(cut.format(inner), new.format(inner))
    assert after != text
    line = frozenset({n for n, one in enumerate(text.splitlines(), 1) if "torch.tensor" in one})
    kinds = frozenset({HazardKind.DISCONNECTED})
    judgement = checker.judge(folder / "user.py", text, after, CALL, line, line, kinds=kinds)
    assert judgement.verdict is verdict, judgement


@pytest.mark.parametrize(
    ("change", "verdict"), [("", Verdict.FIXED), (" * 1.1", Verdict.REJECTED)], ids=["right", "wrong"]
)
def test_pairs_that_disturb_each_other_are_judged_one_by_one(
    change: str, verdict: Verdict, project: tuple[Path, Checker]
) -> None:
    """The factor grows with each call in the process: runs of one process show other numbers than those alone."""
    folder, checker = project
    before = MARKED.format("")
    after = before.replace("    y[0] = 2.0\n", "    y = y.clone()\n    y[0] = 2.0\n")
    after = after.replace("return (y * torch.made).sum()", f"return (y * torch.made).sum(){change}")
    judgement = checker.judge(folder / "marked.py", before, after, CALL, frozenset({4}), frozenset({4, 5}))
    assert judgement.verdict is verdict, judgement


def test_pairs_share_three_processes_once_that_was_shown_to_give_the_same(
    project: tuple[Path, Checker], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, checker = project
    before = "import torch\ndef f(x):\n    y = x.exp()\n    y[0] = 2.0\n    return y.sum()\n"
    after = before.replace("    y[0] = 2.0\n", "    y = y.clone()\n    y[0] = 2.0\n")
    made: list[Request] = []
    run = checker._run
    monkeypatch.setattr(checker, "_run", lambda request: (made.append(request), run(request))[1])
    judgement = checker.judge(folder / "plain.py", before, after, CALL, frozenset({4}), frozenset({4, 5}))
    assert judgement.verdict is Verdict.FIXED, judgement
    assert "11 pairs of runs" in judgement.reason
    assert [len(request.further) for request in made if request.further] == [10, 10, 10]
    assert len(made) < 16


CUT, CONNECTED = "torch.tensor(float((x.exp() * x).sum()))", "(x.exp() * x).sum()"
STOPPED = "import torch\nx = torch.randn(3, requires_grad=True)\nloss = LOSS\nloss.backward()\n"
MODULE = """\
import torch
class Net(torch.nn.Linear):
    def forward(self, x):
        x = super().forward(x)
        return LOSS
"""


@pytest.mark.parametrize(
    ("text", "case"),
    [
        pytest.param(STOPPED, Program(), id="ends where gradients are off"),
        pytest.param(MODULE, DeclaredCall("Net(3, 3)(randn(3))"), id="holds other tensors each time"),
    ],
)
def test_differences_share_processes(
    text: str, case: Case, project: tuple[Path, Checker], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, checker = project
    before, after = (text.replace("LOSS", loss) for loss in (CUT, CONNECTED))
    line = frozenset({1 + text.partition("LOSS")[0].count("\n")})
    made: list[Request] = []
    run = checker._run
    monkeypatch.setattr(checker, "_run", lambda request: (made.append(request), run(request))[1])
    kinds = frozenset({HazardKind.DISCONNECTED})
    judgement = checker.judge(folder / "cut.py", before, after, case, line, line, kinds=kinds)
    assert judgement.verdict is Verdict.FIXED, judgement
    grouped = [request for request in made if request.further]
    assert sum(1 + len(request.further) for request in grouped) > len(made)


def test_a_proof_that_time_cuts_short_takes_back_no_rejection(
    project: tuple[Path, Checker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rewrite is wrong for large inputs only; alone, the pairs come to them after the time is up."""
    folder, checker = project
    before = "import torch\ndef f(x):\n    y = x.exp()\n    y[0] = 2.0\n    return y.sum()\n"
    after = before.replace(
        "    y[0] = 2.0\n", "    y = y.clone()\n    y[0] = 2.0\n    y = y + (x.detach().abs() > 5)\n"
    )
    subject = Subject(
        path=str(folder / "large.py"),
        cwd=str(folder),
        before=before,
        after=after,
        way=Way(call=CALL.call, synthesised=True),
        changed_before=frozenset({4}),
        changed_after=frozenset({4, 5, 6}),
        predicted=True,
        kinds=frozenset({HazardKind.SAVED_THEN_WRITTEN}),
        writes=frozenset({4}),
        cuts=(),
        shared=False,
    )
    groups = alone = 0

    def make(request: Request) -> Run:
        nonlocal groups, alone
        groups += bool(request.further)
        alone += not request.further
        return checker._run(request)

    monkeypatch.setattr(judge.time, "monotonic", lambda: alone)  # each run alone takes a second, the others nothing
    judgement = judge.CaseJudge(make, subject, replace(Limits(), case=8.0)).judgement()
    assert groups == 3
    assert judgement.verdict is Verdict.REJECTED, judgement
