"""What a run leaves outside of its tensors: files, the environment, warnings, the standard error, names, memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from conftest import Judge, judged_by
from lending import Lender

from gradfix.backward.cases import DeclaredCall
from gradfix.backward.limits import Limits
from gradfix.backward.protocol import Ended, Run
from gradfix.backward.verdict.printed import complaints
from gradfix.backward.verdict.state import end_names
from gradfix.findings import HazardKind, Verdict

KINDS = frozenset({HazardKind.SAVED_THEN_WRITTEN})
HEAD = """\
import logging, os, sys, tempfile, time, warnings
x = torch.randn(3, requires_grad=True)
y = x.exp()
y[0] = 10
y.sum().backward()
"""
WRITE = "y[0] = 10\n"
FIX = "y = y.clone()\ny[0] = 10\n"
TAIL = """\
with open("loss.txt", "w") as file:
    file.write(f"loss {y.sum().item():.4f}")
os.makedirs("runs", exist_ok=True)
torch.save({"gradient": x.grad, "step": 3}, "runs/state.pt")
os.environ["MODE"] = "on"
warnings.simplefilter("ignore", UserWarning)
print("gradient", x.tolist(), file=sys.stderr)
result = y.detach() * 2
"""
CLOCKS = """\
os.environ["NOW"] = str(time.time())
here, place, pid = os.getcwd(), tempfile.mkdtemp(), os.getpid()
open(f"run-{time.time():.3f}.txt", "w").close()
logging.warning("at %s", time.time())
with open("when.txt", "w") as file:
    file.write(time.strftime("%H:%M:%S"))
"""
LAYOUT = """\
def rows(x):
    y = x.exp().t()
    y[0] = 10
    return y
"""
COUNTED = """\
class Counted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        y = x.exp()
        y[0] = 10
        return y.sum()
"""


@pytest.fixture(scope="module")
def judge(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """One pair of runs is enough here."""
    folder = tmp_path_factory.mktemp("project")
    with lender.checker(cwd=folder, limits=Limits(case=0.0)) as checker:
        yield judged_by(checker, folder)


@pytest.mark.parametrize("tail", [pytest.param(TAIL, id="all alike"), pytest.param(CLOCKS, id="clocks")])
def test_what_is_left_alike(judge: Judge, tail: str) -> None:
    judgement = judge(HEAD + tail, WRITE, FIX, kinds=KINDS)
    assert judgement.verdict is Verdict.FIXED, judgement.reason


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(".4f", ".1f", "file loss.txt: ", id="a text"),
        pytest.param('"step": 3', '"step": 4', "file runs/state.pt['step']", id="a number saved"),
        pytest.param('"runs/state.pt"', '"state.pt"', "file runs/state.pt", id="another file"),
        pytest.param('"on"', '"off"', "os.environ['MODE']", id="the environment"),
        pytest.param('"ignore"', '"error"', "warnings.filters", id="filters of warnings"),
        pytest.param('"gradient", x', '"gradient", 2 * x', "the standard error: ", id="the standard error"),
        pytest.param("y.detach() * 2", "y.detach() * 3", "`result`", id="a name that nobody reads"),
    ],
)
def test_what_is_left_otherwise(judge: Judge, old: str, new: str, told: str) -> None:
    whole = HEAD.partition(WRITE)[2] + TAIL
    judgement = judge(HEAD + TAIL, WRITE + whole, FIX + whole.replace(old, new), kinds=KINDS)
    assert judgement.verdict is Verdict.REJECTED
    assert told in judgement.reason


@pytest.mark.parametrize(
    ("text", "call", "new", "told"),
    [
        pytest.param(LAYOUT, "rows(randn(3, 4))", "y = y.contiguous().clone(); y[0] = 10", "strides", id="strides"),
        pytest.param(
            COUNTED,
            "Counted()(randn(3))",
            "y = y.clone(); y[0] = 10 if self.calls < 3 else 11",
            "third call",
            id="the third call",
        ),
    ],
)
def test_what_later_code_sees(judge: Judge, text: str, call: str, new: str, told: str) -> None:
    case = DeclaredCall(call)
    assert judge(text, "y[0] = 10", "y = y.clone(); y[0] = 10", case, kinds=KINDS).verdict is Verdict.FIXED
    judgement = judge(text, "y[0] = 10", new, case, kinds=KINDS)
    assert judgement.verdict is Verdict.REJECTED
    assert told in judgement.reason


def test_complaints_leave_out_places_and_what_torch_says() -> None:
    written = (
        "/a/b.py:7: UserWarning: mine\n  warnings.warn('mine')\n"
        "/x/torch/optim/lr.py:9: UserWarning: of an optimizer\n  warnings.warn(\n"
        "/a/b.py:8: UserWarning: slow. (Triggered internally at x.cpp:1.)\n  y.backward()\n"
        "/a/b.py:9: UserWarning: of a tensor better clone\n  z = torch.tensor(y)\n"
        "/a/b.py:9: UserWarning: to a scalar\nConsider (Triggered internally at x.cpp:2.)\n  z = torch.tensor([y])\n"
        "/a/b.py:11: UserWarning: mine\nin two lines\n  warnings.warn(text)\n"
        "/a/b.py:12: UserWarning: of code without a source\n"
        'Traceback (most recent call last):\n  File "/a/b.py", line 3, in f\n    y[0] = 1\nRuntimeError: no\n'
        "done\n"
    )
    ended = Ended(None, False, frozenset(), frozenset(), "r", (), (), (), {}, {}, 0)
    run = Run((), ended, 0.1, None, 0, 0, "", written)
    own = "/a/b.py: UserWarning: mine\n"
    assert complaints(run) == f"{own}{own}in two lines\nTraceback\nRuntimeError: no\ndone\n"
    assert complaints(replace(run, ended=None)) is None


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        pytest.param("y[0] = 1\nz = y\n", "y = f(y)\nz = y\n", ("z",), id="behind"),
        pytest.param("z = y\ny[0] = 1\n", "z = y\ny = f(y)\n", (), id="in front"),
        pytest.param("h = f(1)\ng(h)\n", "h = [f(1)]\ng(h)\n", (), id="read later"),
        pytest.param("h = f(1)\n", "h = f(2)\n", ("h",), id="never read"),
    ],
)
def test_names_that_count(before: str, after: str, names: tuple[str, ...]) -> None:
    ours, theirs = before.splitlines(), after.splitlines()
    changed = {n for n, (one, other) in enumerate(zip(ours, theirs, strict=True), 1) if one != other}
    assert end_names(before, after, changed, changed) == names
