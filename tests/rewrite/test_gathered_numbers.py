"""Numbers that lists gather, for NumPy or not: tensors are gathered instead, as they were when the number was taken."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed

from gradfix.findings import Applicability

torch = pytest.importorskip("torch")

HEAD = "import numpy as np\nimport torch\n\nx = torch.rand(3, requires_grad=True)\n"
TAIL = "loss.backward()\n"
GATHERED = {  # the program, and what it becomes
    "appended": (
        "vals = []\nfor i in range(3):\n    vals.append((x[i] ** 2).item())\nloss = torch.tensor(np.mean(vals))\n",
        "vals = []\nfor i in range(3):\n    vals.append(x[i] ** 2)\nloss = torch.stack(vals).double().mean()\n",
    ),
    "in a comprehension, of a dtype": (
        "vals = [(v - 1).pow(2).item() for v in x]\nloss = torch.tensor(np.array(vals).sum() * 2, dtype=x.dtype)\n",
        "vals = [(v - 1).pow(2) for v in x]\nloss = (torch.stack(vals).sum() * 2).to(dtype=x.dtype)\n",
    ),
    "twice a round, of one element": (
        "vals = []\nfor i in range(3):\n    vals.append(float(x[i].exp()))\n    vals.append(x[:1].sin().item())\n"
        "loss = torch.as_tensor(np.sum(vals)) / len(vals)\n",
        "vals = []\nfor i in range(3):\n    vals.append(x[i].exp())\n    vals.append(x[:1].sin().reshape(()))\n"
        "loss = torch.stack(vals).double().sum() / len(vals)\n",
    ),
    "of what is written later": (
        "run = torch.zeros(())\nvals = []\nfor i in range(3):\n    run += x[i] ** 2\n    vals.append(run.item())\n"
        "loss = torch.from_numpy(np.array(vals)).mean()\n",
        "run = torch.zeros(())\nvals = []\nfor i in range(3):\n    run += x[i] ** 2\n    vals.append(run.clone())\n"
        "loss = torch.stack(vals).double().mean()\n",
    ),
    "without NumPy, of what is written later": (
        "run = torch.zeros(())\nvals = []\nfor i in range(3):\n    run += x[i] ** 2\n    vals.append(run.item())\n"
        "loss = torch.tensor(vals).mean()\n",
        "run = torch.zeros(())\nvals = []\nfor i in range(3):\n    run += x[i] ** 2\n    vals.append(run.clone())\n"
        "loss = torch.stack(vals).mean()\n",
    ),
}


@pytest.mark.parametrize("name", GATHERED)
def test_a_list_gathers_the_tensors(name: str) -> None:
    before, after = GATHERED[name]
    symptom = "does not require grad"
    made = assert_cured(HEAD + before + TAIL, symptom, "x", applicability=Applicability.UNSAFE, by_differences=True)
    head = HEAD if "np." in after or "np." not in before else HEAD.replace("import numpy as np\n", "")
    assert made == head + after + TAIL


ELSEWHERE = {
    "printed": "print(vals)\nloss = torch.tensor(np.mean(vals))\n",
    "read by another function of NumPy": "loss = torch.tensor(np.mean(vals))\nbest = np.argmax(vals)\n",
    "shown in NumPy": "print(np.mean(vals))\nloss = torch.tensor(np.mean(vals))\n",
    "along an axis": "loss = torch.tensor(np.mean(vals, axis=0))\n",
    "a reduction torch has no equal of": "loss = torch.tensor(np.median(vals))\n",
    "with other numbers": "vals.append(2.0)\nloss = torch.tensor(np.mean(vals))\n",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_list_that_is_used_otherwise_keeps_its_numbers(name: str) -> None:
    text = f"{HEAD}vals = []\nfor i in range(3):\n    vals.append((x[i] ** 2).item())\n{ELSEWHERE[name]}{TAIL}"
    assert fixed(text, Applicability.UNSAFE) == text
