"""Small programs, each run on torch and held against what the analysis says of it.

`programs/*.txt` hold them, each under `#---- NAME`. Every run that comes by a line marked `# <- error` must fail; of
those that come by a `# <- warning`, one mustn't. A program without marks must run.
"""

from __future__ import annotations

import random
import re
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gradfix.analysis.analyse import analyse  # noqa: E402
from gradfix.source import Source  # noqa: E402

HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
SYMPTOM = re.compile(
    "in-place operation|inplace operation|modified inplace|scalar outputs|does not require grad|"
    "^vmap: |doesn't match the broadcast shape"  # a write under `vmap`, in two spellings
    "|refers to a single memory location|through the graph a second time"
)
FILE = "program.py"
MARK = re.compile(r"# <- (error|warning)$")


def _load() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted((Path(__file__).parent / "programs").glob("*.txt")):
        parts = re.split(r"^#---- (.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            key = f"{path.stem}: {name}"
            assert key not in found, key
            found[key] = HEAD + text
    return found


PROGRAMS = _load()


def _marks(program: str) -> set[tuple[str, int]]:
    lines = enumerate(program.splitlines(), 1)
    return {(match[1], number) for number, line in lines if (match := MARK.search(line))}


def _run(program: str, seed: int) -> tuple[bool, set[int]]:
    """Whether it fails as autograd does, and the lines that ran."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    executed: set[int] = set()

    def local(frame: FrameType, event: str, _: object) -> Any:
        executed.add(frame.f_lineno)
        return local

    def world(frame: FrameType, event: str, _: object) -> Any:
        return local if frame.f_code.co_filename == FILE else None

    before = sys.gettrace()
    sys.settrace(world)
    try:
        exec(compile(program, FILE, "exec"), {"__name__": "__main__", "print": lambda *_: None})
    except RuntimeError as error:
        if SYMPTOM.search(str(error)) is None:
            raise
        return True, executed
    finally:
        sys.settrace(before)
    return False, executed


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_marks_are_true(name: str) -> None:
    program = PROGRAMS[name]
    marks = _marks(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = [_run(program, seed) for seed in range(6)]
    failed = any(fails for fails, _ in runs)
    assert failed or "error" not in {kind for kind, _ in marks}
    assert not failed or marks
    for kind, line in marks:
        reaching = [fails for fails, executed in runs if line in executed]
        assert all(reaching) if kind == "error" else not all(reaching)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_analysis_agrees(name: str) -> None:
    facts = analyse(Source.from_text(FILE, PROGRAMS[name]))
    found = {(write.severity.value, write.node.lineno) for write in facts.writes}  # type: ignore[attr-defined]
    found |= {(fill.severity.value, fill.branch.lineno) for fill in facts.fills}
    found |= {(call.severity.value, call.node.lineno) for call in facts.backward_calls if call.severity}
    found |= {(again.severity.value, again.node.lineno) for again in facts.second_backwards}
    found |= {(step.severity.value, step.node.lineno) for step in facts.early_steps}
    assert {entry for entry in found if entry[0] != "info"} == _marks(PROGRAMS[name])
