"""Writes to NumPy arrays that share a tensor's memory: each program's gradient is held against that of copies."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numpy")

from gradfix.analysis.analyse import analyse  # noqa: E402
from gradfix.analysis.facts import WriteForm  # noqa: E402
from gradfix.findings import HazardKind, Severity  # noqa: E402
from gradfix.source import Source  # noqa: E402

HEAD = "import numpy as np\nimport torch\nx = torch.linspace(0.1, 0.5, 3).requires_grad_()\n"

WRONG = {
    "item": "y = x.exp()\ny.detach().numpy()[0] = 0.0\ny.sum().backward()\n",
    "name": "y = x.exp()\na = y.detach().numpy()\na[1:] = 0.0\ny.sum().backward()\n",
    "augmented": "y = x.exp()\na = y.detach().numpy()\na *= 2\ny.sum().backward()\n",
    "augmented item": "y = x.exp()\na = y.detach().numpy()\na[0] += 2\ny.sum().backward()\n",
    "view": "y = x.exp()\na = y.detach().numpy().reshape(3, 1)\nb = a[1:]\nb[:] = 5\ny.sum().backward()\n",
    "fill": "y = x.exp()\ny.data.numpy().fill(7)\ny.sum().backward()\n",
    "out": "y = x.exp()\na = y.detach().numpy()\nnp.clip(a, 1.2, 1.3, out=a)\ny.sum().backward()\n",
    "copyto": "y = x.exp()\nnp.copyto(y.detach().numpy(), 3.0)\ny.sum().backward()\n",
    "method of a function": "y = x.exp()\na = y.detach().numpy()\nnp.add.at(a, [0], 1.0)\ny.sum().backward()\n",
    "from_numpy": "a = np.ones(3, dtype=np.float32)\ny = x * torch.from_numpy(a)\na[0] = 5\ny.sum().backward()\n",
    "as_tensor": "a = np.full(3, 2, dtype='float32')\ny = x * torch.as_tensor(a)\na[0] = 5\ny.sum().backward()\n",
    "in a function": "def wipe(t):\n    t.detach().numpy()[:] = 0\n"
    "def f(x):\n    y = x.sigmoid()\n    wipe(y)\n    return y\nf(x).sum().backward()\n",
}
RIGHT = {
    "out of its own": "y = x.exp()\nb = np.empty(3)\nnp.clip(y.detach().numpy(), 0, 1, out=b)\ny.sum().backward()\n",
    "put elsewhere": "y = x.exp()\nb = np.zeros(3)\nnp.copyto(b, y.detach().numpy())\ny.sum().backward()\n",
    "copy": "y = x.exp()\na = y.detach().numpy().copy()\na[0] = 0.0\ny.sum().backward()\n",
    "computed": "y = x.exp()\na = y.detach().numpy() * 2\na[0] = 0.0\ny.sum().backward()\n",
    "before the save": "a = np.ones(3, dtype='float32')\na[0] = 5\n(x * torch.from_numpy(a)).sum().backward()\n",
    "not saved": "y = x + 1\ny.detach().numpy()[0] = 0.0\ny.sum().backward()\n",
    "tensor of an array": "a = np.ones(3, dtype='float32')\ny = x * torch.tensor(a)\na[0] = 5\ny.sum().backward()\n",
    "by a mask": "y = x.exp()\na = y.detach().numpy()\nb = a[a > 0]\nb[0] = 5\ny.sum().backward()\n",
}


def gradient(program: str, *, copied: bool) -> object:
    """The gradient of `x`; `copied`: backward gets copies of what was saved."""
    names: dict[str, object] = {}
    if copied:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
            exec(HEAD + program, names)
    else:
        exec(HEAD + program, names)
    return names["x"].grad  # type: ignore[attr-defined]  # a tensor


def told(program: str) -> list[tuple[HazardKind, Severity]]:
    facts = analyse(Source.from_text("program.py", HEAD + program))
    return [(w.hazards[0].kind, w.severity) for w in facts.writes if w.form is WriteForm.ARRAY and w.hazards]


@pytest.mark.parametrize("name", WRONG)
def test_a_write_that_makes_the_gradient_wrong_is_an_error(name: str) -> None:
    program = WRONG[name]
    assert not torch.equal(gradient(program, copied=False), gradient(program, copied=True))
    assert told(program) == [(HazardKind.SILENT_WRITE, Severity.ERROR)]


@pytest.mark.parametrize("name", RIGHT)
def test_a_write_that_changes_no_gradient_is_silent(name: str) -> None:
    program = RIGHT[name]
    assert torch.equal(gradient(program, copied=False), gradient(program, copied=True))
    assert told(program) == []
