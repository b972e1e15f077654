"""What a writing call hands out is the tensor it wrote, also where that is a view which is taken again."""

from __future__ import annotations

from typing import Any

import pytest

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.findings import Severity
from gradfix.source import Source

torch = pytest.importorskip("torch")

HEAD = "import torch\nx = torch.ones(2, 3, requires_grad=True)\ny = x * 2\nrow = y[0]\n"
END = "row += 3\nresult = (q * y).sum()\nresult.backward()\n"


@pytest.mark.parametrize(
    "use",
    [
        "q = row.mul_(2)\n",
        "q = torch.abs_(row)\n",
        "held = [row.mul_(2)]\nq = held[0]\n",
    ],
)
@pytest.mark.parametrize("form", ["functional", "clone"])
def test_the_result_sees_what_is_written_to_the_view_later(use: str, form: str) -> None:
    text = HEAD + use + END
    policy = engine.Policy(Severity.INFO, form=form)
    after = edits.apply(text, engine.fix(Source.from_text("f.py", text), registry.builtin(), policy).edits)
    assert after != text
    before: dict[str, Any] = {}
    then: dict[str, Any] = {}
    for names, program in ((before, text), (then, after)):
        exec(compile(program, "f.py", "exec"), names)
    for name in ("result", "q", "row", "y"):
        assert torch.equal(before[name], then[name]), after
    assert torch.equal(before["x"].grad, then["x"].grad), after
