"""What is made only to be given as `out=`: it goes where nobody asks it for anything; the dtype stays what it was."""

from __future__ import annotations

from typing import Any

import pytest
from programs import fixed

torch = pytest.importorskip("torch")

HEAD = "import torch\n\n\ndef f(x, n=4):\n    w = torch.full((4,), 0.5, requires_grad=True)\n"
GONE = {
    "like another": ("y = torch.empty_like(x)\ntorch.mul(x, w, out=y)\nreturn y", "y = torch.mul(x, w).to(x.dtype)"),
    "new of another": ("y = x.new_zeros(4)\ntorch.mul(x, w, out=y)\nreturn y", "y = torch.mul(x, w).to(x.dtype)"),
    "returned": ("y = torch.ones_like(x)\nreturn torch.mul(x, w, out=y)", "return torch.mul(x, w).to(x.dtype)"),
    "of the dtype of the result": ("y = torch.empty(4)\ntorch.mul(w, 2, out=y)\nreturn y * x", "y = torch.mul(w, 2)"),
    "with something between": (
        "y = torch.empty_like(x)\nz = x.exp()\ntorch.mul(z, w, out=y)\nreturn y",
        "y = torch.mul(z, w).to(x.dtype)",
    ),
}
LEFT = {
    "of no dtype that is spelled": "y = torch.empty(4)\ntorch.mul(x, w, out=y)\nreturn y",
    "of a dtype given": "y = torch.empty_like(x, dtype=torch.float64)\ntorch.mul(x, w, out=y)\nreturn y",
    "asked for its size": "y = torch.empty_like(x)\nn = y.numel()\ntorch.mul(x, w, out=y)\nreturn y / n",
    "like what is bound anew": "y = torch.empty_like(x)\nx = x.double()\ntorch.mul(x, w, out=y)\nreturn y",
    "like what is deleted": "y = torch.empty_like(x)\nz = x * 2\ndel x\ntorch.mul(z, w, out=y)\nreturn y",
    "seen by a function": "y = torch.empty_like(x)\ng = lambda: y\ntorch.mul(x, w, out=y)\nreturn y + g()",
    "with a remark": "y = torch.empty_like(x)  # for the product\ntorch.mul(x, w, out=y)\nreturn y",
    "made with a value read": "y = torch.empty_like(x)\ny = torch.zeros_like(y)\ntorch.mul(x, w, out=y)\nreturn y",
    "written in one way only": "y = torch.zeros_like(x)\nif n > 3:\n    torch.mul(x, w, out=y)\nreturn y",
}


def function(body: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in body.split("\n"))


def value_of(text: str, dtype: Any, *, grad: bool) -> Any:
    names: dict[str, Any] = {}
    exec(compile(text, "program.py", "exec"), names)
    with torch.set_grad_enabled(grad):
        return names["f"](torch.linspace(0.1, 1.0, 4, dtype=dtype))


def check(text: str, after: str) -> None:
    """Values and dtype are those that the original has without gradients; with them it raises."""
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(RuntimeError, match="out="):
            value_of(text, dtype, grad=True)
        expected, made = value_of(text, dtype, grad=False), value_of(after, dtype, grad=True)
        assert made.dtype == expected.dtype
        assert torch.equal(made, expected)
        assert made.requires_grad


@pytest.mark.parametrize("name", GONE)
def test_it_isnt_made_any_more(name: str) -> None:
    body, line = GONE[name]
    after = fixed(function(body))
    assert f"    {line}\n" in after
    assert after.count("\n") == function(body).count("\n") - 1
    check(function(body), after)
    assert fixed(after) == after


@pytest.mark.parametrize("name", LEFT)
def test_it_stays_where_it_is_asked_for(name: str) -> None:
    text = function(LEFT[name])
    after = fixed(text)
    assert after.count("\n") == text.count("\n")
    assert ".to(y.dtype)\n" in after
    check(text, after)
