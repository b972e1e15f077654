"""Random cuts, undone: the rewritten program computes what the original did, and has the gradient that was missing.

A safe fix keeps values, shape and dtype bit for bit; an unsafe one keeps the shape, and the values up to rounding.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.findings import Applicability
from gradfix.source import Source

torch = pytest.importorskip("torch")

CODEMODS = [codemod for codemod in registry.builtin() if codemod.code.startswith("GF3")]
SCALARS = ("a", "b", "a * b", "x[0]", "-a", "(a + b)", "x.exp().sum()", "x[0] * 2 + b")
ONES = ("one", "one.view(1, 1)", "x[1:2]")
NUMBERS = ("2.0", "-1", "0.5 * 3", "True", "n", "len(x)")
ROUND_TRIPS = (
    "torch.from_numpy(np.sqrt(y.detach().numpy()))",
    "torch.from_numpy(np.exp(y.detach().cpu().numpy()) * 2.0 - 1)",
    "torch.tensor(np.abs(-y.detach().numpy() + 1.0) / 2.0)",
    "torch.from_numpy(-(np.square(y.data.numpy()) + y.detach().numpy()))",
    "torch.as_tensor(np.log1p(y.detach().numpy()))",
    "torch.tensor(np.mean(y.detach().numpy()) * 2.0)",
)
NAMED = (
    ("arr = y.detach().numpy()", "out = torch.from_numpy(np.sqrt(arr))"),
    ("arr = y.data.cpu().numpy()", "part = arr[1:] - arr[:-1]", "out = torch.tensor((part ** 2).sum())"),
    ("arr = np.log(y.detach().numpy() + 1)", "arr = np.clip(arr, 0, 1.2)", "out = torch.tensor(arr)"),
    ("arr = x.detach().numpy()", "other = y.detach().numpy()", "out = torch.as_tensor(np.mean(arr * other) * 2.0)"),
    ("if n > 2:\n    arr = np.exp(y.detach().numpy())\nelse:\n    arr = y.detach().numpy()", "out = torch.tensor(arr)"),
    ("arr = y.detach().numpy()", "out = torch.from_numpy(arr[::2]) + torch.from_numpy(arr).mean()"),
    ("arr = y.detach().numpy()", "total = np.sum(arr, axis=0)", "out = torch.tensor(-(total / 2.0))"),
    ("arr = y.detach().numpy()", "out = torch.from_numpy(arr + np.sqrt(arr)) * 2.0"),
    ("half = 0.5", "arr = (y.data.numpy() - half)[1:]", "out = -torch.as_tensor(arr * half + 1.0).abs()"),
    ("arr = np.exp(y.detach().numpy())", "out = torch.tensor(arr)", "out += 1.0", "out = out + torch.tensor(arr)"),
    ("arr = y.detach().numpy()", "root = np.sqrt(arr)", "out = torch.from_numpy(root)"),
    ("arr = y.detach().numpy()", "root = np.log(arr) * arr", "out = torch.tensor(root)", "out += 1.0"),
    ("arr = y.detach().numpy()", "y = y * 2", "out = torch.from_numpy(np.sqrt(arr))"),
    ("z = y", "for i in range(n):\n    arr = z.detach().numpy()\n    z = z + 1\n    out = torch.tensor(arr * 2.0)"),
    (
        "arr = y.detach().numpy()",
        "part = arr[1:]",
        "out = torch.tensor(part)",
        "out += 1.0",
        "out = out * y[0].detach()",
    ),
    ("out = torch.from_numpy(y.data.clone().numpy())", "out += 1.0", "out = out + torch.tensor(y.detach().numpy())"),
    ("arr = np.zeros(3)", "for i in range(n):\n    arr[i] = y[i].item()", "out = torch.from_numpy(arr)"),
    (
        "arr = np.ones((2, 3))",
        "arr[1, :2] = y.detach().numpy()[:2]",
        "arr[0] += x.data.numpy()",
        "out = torch.tensor(arr)",
    ),
    (
        "arr = np.zeros(4)",
        "for i in range(n):\n    arr[i + 1] = 0.9 * arr[i] + float(one)",
        "out = torch.tensor(arr.sum())",
    ),
    (
        "arr = np.empty(2, dtype=np.float32)",
        "arr[0], k = 2, 1\narr[0] = 2",
        "arr[1] = b.item() / 2",
        "out = torch.as_tensor(arr)",
    ),
)
HEAD = """\
import math
import numpy as np
import torch

n = 3
x = torch.tensor([0.25, 1.5, 0.75], dtype=torch.{dtype}, requires_grad=True)
a, b = x.sum(), (x * x).mean()
one, y = x[:1] * 2, x.exp() + 1
w = torch.ones(3)
"""


def item(draw: random.Random) -> str:
    return draw.choice(draw.choice((SCALARS, SCALARS, ONES, NUMBERS)))


def items(draw: random.Random) -> str:
    parts = [draw.choice(SCALARS), *(item(draw) for _ in range(draw.randint(0, 3)))]
    draw.shuffle(parts)
    if draw.random() < 0.2:
        return f"[[{parts[0]}, {draw.choice(SCALARS)}], [{item(draw)}, b]]"
    return draw.choice(("[{}]", "({},)")).format(", ".join(parts))


def tensor_of_tensors(draw: random.Random) -> list[str]:
    made = items(draw)
    way = draw.randint(0, 9)
    if way < 4:
        extra = draw.choice(("", "", ", dtype=torch.float64", ", device=x.device", ", dtype=y.dtype, device='cpu'"))
        return [f"out = torch.tensor({made}{extra})"]
    if way == 4:
        return [f"out = w.new_tensor({made})"]
    if way == 5:
        return [f"out = torch.{draw.choice(('Tensor', 'FloatTensor', 'as_tensor'))}([{draw.choice(SCALARS)}, b])"]
    if way == 6:
        whole = draw.choice(("x * 2", "y", "a", "x.view(3, 1)"))
        return [f"out = torch.tensor({whole}{draw.choice(('', ', dtype=torch.float64'))})"]
    if way == 7:
        return ["parts = []", f"for i in range(3):\n    parts.append({item(draw)} * x[i])", "out = torch.tensor(parts)"]
    if way == 8:
        return [f"out = torch.tensor([v * {draw.choice(('2', 'a', 'one'))} for v in x])"]
    return [f"out = w.new_tensor({draw.choice(('x * 2', 'a'))})"]


def number_of_tensor(draw: random.Random) -> list[str]:
    scalar = draw.choice((*SCALARS, *ONES))
    number = draw.choice(("({}).item()", "float({})", "({}).sum().item()")).format(scalar)
    way = draw.randint(0, 5)
    if way == 0:
        return ["out = torch.zeros(())", f"for i in range(3):\n    out += {number}"]
    if way == 1:
        return ["out = torch.zeros(2)", f"out[1] = {number}"]
    if way == 2:
        return [f"out = torch.tensor([{number}, 1.0])"]
    if way == 3:
        return [f"out = w * {number} - {draw.choice(('1', number))}"]
    if way == 4:
        return [f"out = w + math.{draw.choice(('sqrt', 'exp', 'tanh'))}({draw.choice(('a', 'b', 'one'))})"]
    return [f"values = [v.item() for v in ({draw.choice(('a, b', 'x', 'x[0], one'))})]", "out = torch.tensor(values)"]


def detached(draw: random.Random) -> list[str]:
    if draw.random() < 0.6:
        return [f"out = {draw.choice(ROUND_TRIPS)}"] if draw.random() < 0.5 else list(draw.choice(NAMED))
    tensor = draw.choice(("y", "x * 2", "a", "x.sin()", "(y + 1)"))
    end = draw.choice((".data", ".detach()", "\\\n    .detach()"))
    return [f"out = ({tensor}){end} * 3"]


def program(seed: int) -> str:
    draw = random.Random(seed)
    body = draw.choice((tensor_of_tensors, tensor_of_tensors, number_of_tensor, detached))(draw)
    dtype = draw.choice(("float32", "float32", "float64", "float16"))
    return HEAD.format(dtype=dtype) + "\n".join(body) + "\nloss = out.sum()\nloss.backward()\n"


def run(text: str, step: float = 0.0) -> dict[str, object]:
    """The variables of a program up to its backward call; `x` moved by `step` along (1, 2, 3)."""
    names: dict[str, object] = {}
    moved = f"with torch.no_grad():\n    x += {step} * torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)\na, b"
    exec(text.replace("loss.backward()\n", "").replace("a, b", moved, 1), names)
    return names


def check(seed: int) -> str:
    text = program(seed)
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    source = Source.from_text("program.py", text)
    try:
        before = run(text)
    except (TypeError, ValueError, RuntimeError):
        return "discarded"
    result = engine.fix(source, CODEMODS, policy)
    if not result.edits:
        return "refused" if any(left.refusal for left in result.left) else "missed"
    fixed = edits.apply(text, result.edits)
    after = run(fixed)
    old, new = before["out"], after["out"]
    safe = all(r.fix is not None and r.fix.applicability is Applicability.SAFE for r in result.applied)
    assert (old.dtype, old.shape) == (new.dtype, new.shape) or not safe, fixed  # type: ignore[attr-defined]
    assert old.shape == new.shape, fixed  # type: ignore[attr-defined]
    close = torch.allclose(old.double(), new.double(), rtol=5e-3)  # type: ignore[attr-defined]
    assert torch.equal(old, new) if safe else close, fixed  # type: ignore[arg-type]
    assert new.requires_grad, fixed  # type: ignore[attr-defined]
    if old.dtype is new.dtype is before["x"].dtype is torch.float64:  # type: ignore[attr-defined]
        after["loss"].backward()  # type: ignore[attr-defined]
        slope = float((after["x"].grad * torch.tensor([1.0, 2.0, 3.0])).sum())  # type: ignore[attr-defined]
        ends = [float(run(text, sign * 1e-6)["loss"]) for sign in (1, -1)]  # type: ignore[arg-type]
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6), fixed
    return "safe" if safe else "unsafe"


@pytest.mark.filterwarnings("ignore")
def test_undone_cuts_compute_the_same_and_have_their_gradient() -> None:
    outcomes = Counter(check(seed) for seed in range(400))
    assert outcomes["safe"] >= 220
    assert outcomes["unsafe"] >= 90
    assert outcomes["safe"] + outcomes["unsafe"] >= 390


@pytest.mark.parametrize(
    "lines",
    [
        ("arr = y.detach().numpy()", "print(arr)", "out = torch.tensor(np.sqrt(arr))"),  # used for something else, too
        ("arr = y.detach().numpy()", "arr += 1", "out = torch.tensor(arr)"),
        ("arr = y.detach().numpy()", "arr[0] = 1", "out = torch.tensor(np.sqrt(arr))"),
        ("arr = y.detach().numpy()", "out = torch.tensor(np.sort(arr))"),  # no twin
        ("arr = y.detach().numpy()", "out = torch.tensor(arr[::-1].copy())"),  # torch has no negative steps
        ("centre = np.arange(3.0)", "arr = y.detach().numpy() - centre", "out = torch.tensor(arr)"),  # one of its own
        ("arr = np.zeros(3)", "arr[0] = a.item()", "print(arr)", "out = torch.tensor(arr)"),
        ("arr = np.zeros(3, dtype=int)", "arr[0] = y[0].detach().numpy()", "out = torch.tensor(arr * 1.0)"),
        ("arr = np.zeros(3)", "arr[0] += one.item()", "out = torch.tensor(arr)"),  # one dimension too many for a slot
        ("torch.set_default_device('cpu')", "arr = np.zeros(1)", "arr[0] = a.item()", "out = torch.tensor(arr)"),
        ("def keep():\n    return arr", "arr = y.detach().numpy()", "out = torch.tensor(np.sqrt(arr))"),
        ("for i in range(2):\n    arr = y.detach().numpy()\narr2, k = arr, 1", "out = torch.tensor(arr2)"),
        ("total = 0.0", "for i in range(n):\n    total = total + np.sum(y.data.numpy())", "out = torch.tensor(total)"),
        ("arr = y.detach().numpy()", "def drop():\n    global arr\n    arr = None", "out = torch.tensor(np.sqrt(arr))"),
        ("class Kept:\n    arr = y.detach().numpy()\n    out = torch.tensor(np.sqrt(arr))", "out = Kept.out"),
        ("arr = y.detach().numpy()", "scale = 2.0", "out = torch.tensor(arr / np.sqrt(scale))"),  # `torch.sqrt(2.0)`
        ("k = torch.arange(3)", "out = torch.tensor(y.detach().numpy() * np.mean(k.numpy()))"),  # torch has none of int
        ("k = torch.arange(3)", "arr = y.data.numpy() / k.numpy().mean()", "out = torch.tensor(arr)"),
    ],
)
def test_arrays_that_go_elsewhere_or_cant_be_followed_stay(lines: tuple[str, ...]) -> None:
    text = HEAD.format(dtype="float64") + "\n".join(lines) + "\nloss = out.sum()\nloss.backward()\n"
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    assert edits.apply(text, engine.fix(Source.from_text("program.py", text), CODEMODS, policy).edits) == text


@pytest.mark.parametrize(
    "line",
    [
        "out = torch.from_numpy(3.0 / y.detach().numpy())",  # torch multiplies by the reciprocal
        "out = torch.from_numpy(y.detach().numpy() * np.sqrt(torch.arange(3).numpy()))",  # NumPy makes it float64
        "out = torch.from_numpy(y.detach().numpy() ** 2)",
    ],
)
def test_what_torch_may_round_otherwise_is_not_safe(line: str) -> None:
    text = HEAD.format(dtype="float32") + f"{line}\nloss = out.sum()\nloss.backward()\n"
    source = Source.from_text("program.py", text)
    assert not engine.fix(source, CODEMODS, engine.Policy()).edits
    assert engine.fix(source, CODEMODS, engine.Policy(applicability=Applicability.UNSAFE)).edits


def test_a_loss_made_a_leaf_of_its_own_is_computed_in_torch() -> None:
    text = HEAD.format(dtype="float64") + (
        "arr = y.detach().numpy()\narr = np.abs(arr - 1)\n"
        "loss = torch.tensor(np.sum(arr ** 2), requires_grad=True)\nloss.backward()\n"
    )
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    after = edits.apply(text, engine.fix(Source.from_text("program.py", text), CODEMODS, policy).edits)
    assert "arr = y\narr = torch.abs(arr - 1)\nloss = torch.sum(arr ** 2)\n" in after
    names = run(after)
    names["loss"].backward()  # type: ignore[attr-defined]
    expected = 2 * names["x"].detach().exp() ** 2  # type: ignore[attr-defined]
    assert torch.allclose(names["x"].grad, expected)  # type: ignore[attr-defined]


def test_a_tensor_or_number_that_somebody_else_holds_is_copied() -> None:
    text = HEAD.format(dtype="float32") + (
        "out = a if len(x) > n - 1 else 0.0\nloss = torch.tensor(out)\nloss *= 2\n(loss + a.detach()).backward()\n"
    )
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    after = edits.apply(text, engine.fix(Source.from_text("program.py", text), CODEMODS, policy).edits)
    names = run(after)
    assert torch.equal(names["a"], names["x"].sum())  # type: ignore[attr-defined]
    assert torch.equal(names["x"].grad, torch.full((3,), 2.0))  # type: ignore[attr-defined]


def test_parentheses_that_a_name_needs_no_more_go_with_the_array() -> None:
    text = HEAD.format(dtype="float64") + (
        "arr = (y * 2).detach().numpy()\nroot = np.sqrt((y + 1).detach().numpy()) * (y - 1).detach().numpy()\n"
        "out = torch.from_numpy(arr + root)\nloss = out.sum()\nloss.backward()\n"
    )
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    after = edits.apply(text, engine.fix(Source.from_text("program.py", text), CODEMODS, policy).edits)
    assert "arr = y * 2\nroot = torch.sqrt(y + 1) * (y - 1)\nout = arr + root\n" in after
    run(after)["loss"].backward()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lines", "made"),
    [
        (
            "arr = y.detach().numpy()\nroot = np.sqrt(arr) + arr\nout = torch.tensor(root)\n",
            "out = torch.sqrt(y) + y\n",
        ),
        ("arr = y.detach().numpy()\nout = torch.tensor(arr)\n", "out = y.clone()\n"),
        (
            "arr = y.detach().numpy()\ny = y * 2\nroot = np.sqrt(arr)\nw += 1\nout = torch.tensor(root)\n",
            "arr = y\ny = y * 2\nroot = torch.sqrt(arr)\nw += 1\nout = root\n",
        ),
    ],
)
def test_names_that_would_only_stand_for_others_go(lines: str, made: str) -> None:
    text = f"{HEAD.format(dtype='float64')}{lines}loss = out.sum()\nloss.backward()\n"
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    after = edits.apply(text, engine.fix(Source.from_text("program.py", text), CODEMODS, policy).edits)
    assert f"w = torch.ones(3)\n{made}loss = " in after
    run(after)["loss"].backward()  # type: ignore[attr-defined]


def test_what_was_cut_by_a_block_goes_through_arrays() -> None:
    text = HEAD.format(dtype="float64") + (
        "with torch.no_grad():\n    y = y.flip(0)\narr = y.detach().numpy()\n"
        "loss = (y * torch.from_numpy(np.abs(arr))).sum()\nloss.backward()\n"
    )
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    result = engine.fix(Source.from_text("program.py", text), CODEMODS, policy)
    assert {one.finding.code for one in (*result.applied, *result.left)} == {"GF303"}
