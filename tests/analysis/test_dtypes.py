"""What the analysis says of dtypes, against torch."""

from __future__ import annotations

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.analysis.domain.dtypes import FLOATS_ONLY
from gradfix.source import Source

torch = pytest.importorskip("torch")

ARGUMENTS = {
    "softmax": "x, -1",
    "log_softmax": "x, -1",
    "softmin": "x, -1",
    "layer_norm": "x, (3,)",
    "group_norm": "x, 1",
    "batch_norm": "x, None, None, training=True",
    "glu": "x, 0",
    "lerp": "x, x, 0.5",
    "cdist": "x, x",
}


@pytest.mark.parametrize("name", sorted(FLOATS_ONLY))
def test_what_only_takes_floats_refuses_integers_and_returns_floats(name: str) -> None:
    function = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    call = f"function({ARGUMENTS.get(name, 'x')})"
    with pytest.raises(RuntimeError):
        eval(call, {"function": function, "x": torch.arange(1, 7).reshape(2, 3)})
    result = eval(call, {"function": function, "x": torch.rand(2, 3)})
    assert result.is_floating_point()


EXPRESSIONS = (
    "x.exp()",
    "x * 2",
    "x * 2.5",
    "x / 3",
    "x.exp() // 2",
    "x.exp().sum(0)",
    "x.exp().sum(0, dtype=kind)",
    "x.sum(0)",
    "x.softmax(-1) if x.is_floating_point() else x",
    "torch.where(x > 0, x.exp(), x)",
    "torch.cat([x.exp(), x])",
    "x.exp().to(kind)",
    "x.exp().to(other)",
    "x.exp().to(other.dtype)",
    "x.exp().to(other.device)",
    "x.exp().to('cpu')",
    "x.exp().type(kind)",
    "x.exp().type_as(other)",
    "x.exp().view(torch.int32)",
    "x.exp().float().view(kind)",
    "x.exp().view(-1)",
    "x.exp().long()",
    "x.exp().to(torch.int64)",
    "x.exp().bool()",
    "x.exp().clamp(0, 1)",
    "x.exp()[0]",
    "-x.exp()",
    "x.exp().argmax(0)",
    "x.clone()",
    "torch.zeros_like(x.exp())",
    "torch.ones(3).to(kind)",
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("kind", ["float32", "int64"])
def test_a_dtype_said_to_be_floating_is(expression: str, kind: str) -> None:
    header = "import torch\n\n\ndef f(x: torch.Tensor, other: torch.Tensor, kind):\n"
    text = f"{header}    y = {expression}\n    y[0] = 1\n    return y\n"
    facts = analyse(Source.from_text("f.py", text))
    said = [write.tensor for write in facts.writes]
    wanted = getattr(torch, "int32" if "view(kind)" in expression else "int64")
    x = (torch.rand(2, 3) * 3).to(getattr(torch, kind))
    real = eval(expression, {"torch": torch, "x": x, "other": torch.arange(3), "kind": wanted})
    for tensor in said:
        assert real.is_floating_point() or not tensor.floating
        assert tensor.dtype in (None, str(real.dtype).removeprefix("torch."))


@pytest.mark.parametrize("expression", ["x.exp()", "x * 2.5", "x / 3", "x.exp().sum(0)", "x.softmax(-1)", "-x.exp()"])
def test_what_torch_makes_floating_is_known_to_be(expression: str) -> None:
    text = f"import torch\n\n\ndef f(x: torch.Tensor):\n    y = {expression}\n    y[0] = 1\n    return y\n"
    (write,) = analyse(Source.from_text("f.py", text)).writes
    assert write.tensor.floating
