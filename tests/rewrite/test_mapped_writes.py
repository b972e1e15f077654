"""Writes of mapped values under `torch.vmap`: the fixed function, mapped, gives what the original gives one by one."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gradfix import edits, registry  # noqa: E402
from gradfix.engine import engine  # noqa: E402
from gradfix.engine.policy import Policy  # noqa: E402
from gradfix.source import Source  # noqa: E402

CODEMODS = tuple(registry.load())
FIXED = (
    "out = torch.zeros(3)\nout[0] = x.sum()\nreturn out",
    "out = torch.ones(3)\nout += x\nreturn out",
    "out = torch.ones(3)\nout.mul_(x).add_(1)\nreturn out",
    "out = torch.ones(3)\nout[x > 0] = 0.5\nreturn out",
    "out = torch.zeros(2, 3)\nout[0] = x\nout[1] = x * 2\nreturn out",
    "out = torch.empty(3)\nfor i in range(3):\n    out[i] = x[i].sin()\nreturn out",
    "out = torch.zeros(3)\nout[1:] = x[1:] * x[0]\nreturn out",
)
LEFT = ("out = torch.zeros(n)\nout[1:] = x[1:]\nreturn out", "out = torch.zeros(n)\nout[0] += x[0]\nreturn out")


def _text(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"import torch\nn = len('abc')\ndef f(x):\n{lines}g = torch.vmap(f)\ngiven = torch.randn(4, 3)\n"


def _named(text: str) -> dict[str, Any]:
    torch.manual_seed(0)
    scope: dict[str, Any] = {}
    exec(compile(text, "program.py", "exec"), scope)
    return scope


@pytest.mark.parametrize("body", FIXED)
def test_the_fixed_function_can_be_mapped(body: str) -> None:
    text = _text(body)
    before = _named(text)
    with pytest.raises(RuntimeError, match=r"vmap|broadcast shape"):
        before["g"](before["given"])
    fixed = engine.fix(Source.from_text("program.py", text + "g(given)\n"), CODEMODS, Policy())
    after = _named(edits.apply(text + "g(given)\n", fixed.edits))
    expected = torch.stack([before["f"](x) for x in before["given"]])
    assert torch.equal(after["g"](after["given"]), expected)


@pytest.mark.parametrize("body", LEFT)
def test_no_clone_is_offered(body: str) -> None:
    fixed = engine.fix(Source.from_text("program.py", _text(body) + "g(given)\n"), CODEMODS, Policy())
    assert fixed.results
    titles = [one.title for result in fixed.results for one in (result.fix, *result.alternatives) if one is not None]
    assert not any("clone" in title.lower() or "cop" in title.lower() for title in titles)
