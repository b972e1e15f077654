"""The cost of a fix is that of the same work before and after. One pair of runs is enough to come to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Judge, judged_by
from lending import Lender

from gradfix.backward.cases import DeclaredCall
from gradfix.backward.limits import Limits
from gradfix.findings import Verdict

pytest.importorskip("torch")

MIB = 1 << 20
LARGEST = 1 << 40
LARGE = "x = torch.randn(12_000_000, requires_grad=True)\nh = x * 2\nh[0] = 0\n(h * h).sum().backward()\n"


@pytest.fixture(scope="module")
def judge(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    folder = tmp_path_factory.mktemp("project")
    with lender.checker(cwd=folder, limits=Limits(case=0.0)) as checker:
        yield judged_by(checker, folder)


def test_the_memory_of_a_copy_is_seen(judge: Judge) -> None:
    """On a machine with much else to do, pages of the server may count for a run: then it is measured again."""
    least = [LARGEST, LARGEST]
    for _ in range(3):
        judgement = judge(LARGE, "h[0] = 0", "h = h.clone(); h[0] = 0; k = h.clone()")
        assert judgement.verdict is Verdict.EQUIVALENT
        assert judgement.cost is not None
        assert all(0 < seconds < 10 for seconds in judgement.cost.seconds)
        least = list(map(min, least, judgement.cost.memory))
        if 30 * MIB < least[1] - least[0] < 120 * MIB:
            break
    before, after = least
    assert before > 90 * MIB
    assert 30 * MIB < after - before < 120 * MIB


def test_an_original_that_raises_is_measured_to_its_end(judge: Judge) -> None:
    text = "import time\nx = torch.randn(3, requires_grad=True)\nh = x.exp()\nh[0] = 0\nh.sum().backward()\n"
    judgement = judge(text + "time.sleep(0.2)\n", "h[0] = 0", "h = h.clone(); h[0] = 0")
    assert judgement.verdict is Verdict.FIXED
    assert judgement.cost is not None
    assert min(judgement.cost.seconds) >= 0.2


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("x[0] = 1\n(x * x).sum()", "x[0] = 1\n(x * x)", "y = x.clone()\ny[0] = 1\n(y * y)"),
        ("(x * x)", "(x * x).b", "(x * x).sum().b"),
        ("a, b, c = x.sin().unbind(0)\na += 1\n(a * b)", "a += 1", "a = a + 1"),
    ],
)
def test_every_kind_of_error_can_be_measured(judge: Judge, text: str, old: str, new: str) -> None:
    judgement = judge(f"x = torch.randn(3, requires_grad=True)\n{text}.backward()\n", old, new)
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judgement.cost is not None


def test_of_a_call_only_the_call_counts(judge: Judge) -> None:
    text = "import time\ntime.sleep(0.3)\ndef f(x):\n    y = x.exp()\n    y[0] = 10\n    return y\n"
    judgement = judge(text, "y[0] = 10", "y = y.clone(); y[0] = 10", DeclaredCall("f(randn(3))"))
    assert judgement.cost is not None
    assert max(judgement.cost.seconds) < 0.3


def test_a_rejected_fix_has_no_cost(judge: Judge) -> None:
    judgement = judge(LARGE, "h[0] = 0", "h = h.clone(); h[0] = 1")
    assert (judgement.verdict, judgement.cost) == (Verdict.REJECTED, None)
