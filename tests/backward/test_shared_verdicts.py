"""Many fixes of one file, judged together: none is called fixed whose lines didn't run, or whose hazard didn't show."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from gradfix import registry
from gradfix.backward.checker import Checker
from gradfix.command_line import run
from gradfix.engine.engine import Policy
from gradfix.findings import Applicability, Judgement, Severity, Verdict
from gradfix.proof import attribution
from gradfix.proof.plan import Loaded, Plan, Rules
from gradfix.source import Source

HAZARD = "def f{n}(x):\n    y = x.exp()\n    y[0] = {n}\n    return y.sum()\n"
LOCKED = """\
def locked(x, key):
    if hashlib.sha256(str(key).encode()).hexdigest()[:8] != "00000000":
        raise ValueError(key)
    y = x.exp()
    y[0] = 1.0
    return y.sum()
"""
HARMLESS = "def calm(x, steep=False):\n    y = x.exp() if steep else x + 2\n    y[0] = 10\n    return y.sum()\n"
HEAD = "import hashlib\n\nimport torch\n"


def judged(checker: Checker, folder: Path, text: str) -> dict[str, Judgement]:
    """By the function that the fix is in."""
    rules = Rules(registry.builtin(), Policy(Severity.INFO, Applicability.UNSAFE))
    path = str(folder / "library.py")
    (planned,) = run.plan(rules, [Loaded(path, Source.from_text(path, text))], lambda path: ())
    assert isinstance(planned, Plan)
    result = run.prove(rules, planned, checker, proven=False)
    return {r.finding.identity.qualname: r.judgement for r in result.results if r.judgement is not None}


def test_of_twelve_fixes_each_is_told_what_its_own_lines_showed(checker: Checker, tmp_path: Path) -> None:
    names = [f"f{n}" for n in range(10)]
    functions = [*(HAZARD.format(n=n) for n in range(10)), HARMLESS, LOCKED]
    program = f"x = torch.randn(3, requires_grad=True)\nsum(f(x) for f in ({', '.join(names)}, calm)).backward()\n"
    told = judged(checker, tmp_path, "\n\n".join([HEAD, *functions, program]))
    assert {name: told[name].verdict for name in names} == dict.fromkeys(names, Verdict.FIXED)
    assert told["calm"].verdict is Verdict.EQUIVALENT, told["calm"]
    assert (told["locked"].verdict, told["locked"].notes) == (Verdict.NOT_EXERCISED, ())


def test_a_function_that_no_call_was_found_for_gets_no_share_in_the_others(
    checker: Checker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "EACH", 1)
    told = judged(checker, tmp_path, "\n\n".join([HEAD, HAZARD.format(n=1), LOCKED]))
    assert told["f1"].verdict is Verdict.FIXED
    assert told["locked"].verdict is Verdict.UNCHECKED
    assert told["locked"].reason.startswith("no call of `locked` was found")
