"""One guarded server for all tests of the check, and a short way to ask it for a verdict."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from lending import Lender

from gradfix.backward.cases import Case, Program
from gradfix.backward.checker import Checker
from gradfix.findings import HazardKind, Judgement

Judge = Callable[..., Judgement]

if sys.platform != "linux":
    collect_ignore = [
        "test_forked.py",
        "test_guard.py",
        "test_hostile.py",
        "test_oracles.py",
        "test_programs.py",
        "test_verdicts.py",
    ]


def _place(text: str, around: str, expression: str) -> tuple[int, int, int, int]:
    assert text.count(around) == 1, f"{around!r} must be in the text once"
    start = text.index(expression, text.index(around))
    lines = text[:start].split("\n")
    return len(lines), len(lines[-1]), len(lines), len(lines[-1]) + len(expression)


def judged_by(checker: Checker, folder: Path) -> Judge:
    """`judge(text, old, new, case=…, …)`: the verdict on replacing `old` by `new` in the text."""

    def judge(
        text: str,
        old: str,
        new: str,
        case: Case | None = None,
        *,
        predicted: bool = False,
        silent: bool = False,
        kinds: frozenset[HazardKind] = frozenset(),
        cuts: Sequence[str] = (),
        within: str = "",
        writes: str = "",
    ) -> Judgement:
        """`cuts` are expressions of the text that are to be undone, or hold the one, `within`, that is.

        `writes` is on the lines that cause what is to be cured.
        """
        assert text.count(old) == 1, f"{old!r} must be in the text once"
        before, after = "import torch\n" + text, "import torch\n" + text.replace(old, new)
        ours, theirs = before.splitlines(), after.splitlines()
        return checker.judge(
            folder / "program.py",
            before,
            after,
            Program() if case is None else case,
            frozenset(number for number, line in enumerate(ours, 1) if line not in theirs),
            frozenset(number for number, line in enumerate(theirs, 1) if line not in ours),
            predicted=predicted,
            cuts=tuple(_place(before, cut, within or cut) for cut in cuts),
            kinds=kinds | ({HazardKind.SILENT_WRITE} if silent else frozenset()),
            writes=frozenset(number for number, line in enumerate(ours, 1) if writes and writes in line),
        )

    return judge


@pytest.fixture(scope="session")
def checker(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    pytest.importorskip("torch")
    with lender.checker(cwd=tmp_path_factory.mktemp("cwd")) as shared:
        yield shared


@pytest.fixture(scope="session")
def judge(checker: Checker, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return judged_by(checker, tmp_path_factory.mktemp("project"))
