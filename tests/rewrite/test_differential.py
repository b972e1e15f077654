"""Every form of every rewrite against the write it replaces, run on torch with facts read off the real tensors.

The reference is the original itself under hooks that keep clones of what is saved: they switch the version check off,
so it runs where plain autograd would refuse, with the gradient that was meant. Facts are withheld at random, as the
analysis withholds what it can't prove: whatever form is chosen then must still be equal.
"""

from __future__ import annotations

import ast
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from build import NOTHING, SOMETHING, Case, case
from hypothesis import given, settings
from hypothesis import strategies as st

from gradfix import edits
from gradfix.analysis.facts import IndexItem, IndexKind, TensorFacts, Tracked, ValueFacts, ValueKind
from gradfix.findings import Refusal
from gradfix.rewrite import rebind

torch = pytest.importorskip("torch")

PRELUDE = {
    "torch": torch,
    "F": torch.nn.functional,
    "math": math,
    "i": 1,
    "n": 3,
    "c": 2.5,
    "k": 2,
}
SHAPES = ((4,), (3, 4), (2, 3, 4))
# fmt: off
INDICES = {
    1: (
        "0", "-1", "i", "1:3", "::2", "-2:", "i:", ":", "...", "idx", "ids", "mask", "y > 0", "none", "1:1", "t0",
        "big", "(1,)", "i - 1",
    ),
    2: (
        "0", "i", "-1, 2", "i, 0", ":, 1", ":, -1", "1:, 2", "1:3", ":, ::2", "..., 0", "0, ...", "idx", "idx, idx",
        ":, idx", "mask", "rows", "y > 0", "None, 1", "0, idx", ":, :", "1:1", "..., 1:3", "ids, 1", "t0, t0",
    ),
    3: (
        "0", "i", "0, 1, 2", ":, i", "..., -1", "..., 1:3", "1, :, 2", ":, 1:", "idx", "mask", "rows", "y > 0",
        "0, ..., 1", "i, i", "t0",
    ),
}
# fmt: on
VALUES = (
    "0",
    "1.5",
    "-2",
    "c",
    "-c",
    "True",
    "s",
    "s64",
    "row",
    "wide",
    "double",
    "one",
    "y0 * 2",
    "w * s",
    "y.sum() * s",
)
OPERANDS = ("2", "c", "s", "s64", "w", "w64", "y.sin()", "y.mean()", "w + s", "w if n else s", "-w", "w > 0")
# fmt: off
METHODS = (
    "y.exp_()", "y.mul_(2)", "y.mul_(w)", "y.mul_(w64)", "y.add_(w, alpha=2)", "y.mul_(2).add_(w)",
    "y.clamp_(-0.5, 0.5)", "y.clamp_(min=w)", "y.masked_fill_(full, 0.5)", "y.masked_fill_(full, s)",
    "y.fill_(1.5)", "y.zero_()", "y.copy_(w)", "y.copy_(y.flip(0))", "y.neg_()", "y.gt_(0)", "y.eq_(w)",
    "y.pow_(2)", "y.cumsum_(0)", "y.addcmul_(w, w64)", "y.relu_()", "y.lerp_(w, 0.25)", "y.normal_()",
    "y.uniform_(0, 2)", "y.bernoulli_(0.5)", "y.sub_(y.mean())", "y.div_(y.norm())", "y.tril_()",
    "y.index_fill_(0, idx, 2.0)", "y.index_add_(0, idx, w[idx])", "y.sigmoid_().mul_(s).exp_()", "torch.relu_(y)",
    "torch.clamp_(y, -0.2, 0.3)", "F.elu_(y)", "F.leaky_relu_(y, 0.3)", "F.relu(y, inplace=True)",
    "F.dropout(y, 0.5, inplace=True)", "F.hardtanh(y, -0.1, 0.1, inplace=True)", "y[0].mul_(2)", "y[0].exp_()",
    "y.t().mul_(w.t())", "y[..., 1:].add_(s)", "y.view(-1).mul_(c)", "y.T.add_(1)", "y.diagonal().zero_()",
)
# fmt: on
USES = ("{}", "z = {}", "y = {}", "z = torch.cat([w, {}])", "z = ({} + w)", "z = (w.sum(), {}, y)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves behind: tensors by name, and the gradients of the leaves."""

    tensors: tuple[tuple[str, object], ...]
    gradients: tuple[object, ...]


def leaves(shape: tuple[int, ...], dtype: object, seed: int) -> dict[str, object]:
    """Tensors to write into, to write, and to index with."""
    random_numbers = torch.Generator().manual_seed(seed)

    def numbers(*size: int) -> object:
        return torch.rand(size, generator=random_numbers) * 4 - 2

    columns = shape[1:]
    return {
        "x": numbers(*shape).to(dtype),
        "w0": numbers(*shape).to(dtype),
        "s0": numbers().to(dtype),
        "d0": numbers(*columns),
        "idx": torch.tensor([2, 0]) if shape[0] > 2 else torch.tensor([1, 0]),
        "ids": [0, 1],
        "none": None,
        "t0": torch.tensor(1),
        "big": slice(-10, 10),
        "mask": torch.rand(shape, generator=random_numbers) > 0.5,
        "full": torch.rand(shape, generator=random_numbers) > 0.5,
        "rows": torch.rand(shape[0], generator=random_numbers) > 0.5,
    }


SETUP = """
y = x * 1
w = w0 * 1
w64 = w0.double() * 1
s = s0 * 1
s64 = s0.double() * 1
row = d0.to(y.dtype) * 1
wide = d0.double() * 1
double = d0.double().unsqueeze(0)
one = d0.to(y.dtype).reshape(1, *d0.shape)
y0 = y[0] * 1
"""


def namespace(shape: tuple[int, ...], dtype: object, seed: int) -> dict[str, object]:
    """The names a program starts with; `x`, `w0`, `s0` are the leaves."""
    names = dict(PRELUDE) | leaves(shape, dtype, seed)
    for leaf in ("x", "w0", "s0", "d0"):
        names[leaf] = names[leaf].clone()  # type: ignore[attr-defined]  # a tensor
        if names[leaf].is_floating_point():  # type: ignore[attr-defined]
            names[leaf].requires_grad_()  # type: ignore[attr-defined]
    return names


def run(text: str, names: dict[str, object]) -> Outcome:
    """Execute `text`, then differentiate a random function of what it leaves in `y` and `z`."""
    torch.default_generator.manual_seed(3)
    exec(compile(text, "<program>", "exec"), names)
    torch.default_generator.manual_seed(4)
    left = [(name, value) for name in ("y", "z") for value in flat(names.get(name))]
    loss = sum((value.double() * torch.randn(value.shape, dtype=torch.float64)).sum() for _, value in left)
    inputs = [names[leaf] for leaf in ("x", "w0", "s0", "d0")]
    if loss.requires_grad:  # type: ignore[union-attr]  # a tensor
        loss.backward()  # type: ignore[union-attr]
    return Outcome(tuple(left), tuple(leaf.grad for leaf in inputs))  # type: ignore[attr-defined]


def flat(value: object) -> list[object]:
    """The tensors in a value."""
    if isinstance(value, tuple):
        return [inner for part in value for inner in flat(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def reference(text: str, names: dict[str, object]) -> Outcome | None:
    """The original, with clones of what is saved; None when it raises for another reason."""
    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor):
            return run(text, names)
    except (RuntimeError, IndexError, TypeError, ValueError):
        return None


def same(a: object, b: object) -> bool:
    """Bit for bit, dtype and shape included."""
    equal = a.dtype == b.dtype and a.shape == b.shape  # type: ignore[attr-defined]  # tensors
    return equal and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def close(a: object, b: object) -> bool:
    """Gradients: None only with None or zero, else equal but for the rounding of a formula over input or result."""
    if a is None or b is None:
        other = a if b is None else b
        return other is None or bool((other == 0).all())  # type: ignore[attr-defined]  # a tensor
    rough = {torch.float16: 2e-3, torch.float32: 1e-6, torch.float64: 1e-12}[a.dtype]  # type: ignore[attr-defined]
    return torch.allclose(a, b, rtol=rough, atol=rough, equal_nan=True)


def facts_of(value: object, knowledge: int) -> TensorFacts:
    """Facts of a tensor: everything, all but sizes, or nothing."""
    tracked = Tracked.YES if value.requires_grad else Tracked.NO  # type: ignore[attr-defined]  # a tensor
    if knowledge == 0:
        return TensorFacts(tracked=tracked if value.requires_grad else Tracked.MAYBE)  # type: ignore[attr-defined]
    dtype = str(value.dtype).removeprefix("torch.")  # type: ignore[attr-defined]
    sizes = tuple(value.shape)  # type: ignore[attr-defined]
    return TensorFacts(
        tracked=tracked, dtype=dtype, shape=sizes if knowledge == 2 else (None,) * len(sizes), device="cpu"
    )


def value_of(value: object, knowledge: int) -> ValueFacts:
    """Facts of what is written."""
    if isinstance(value, torch.Tensor):
        return ValueFacts(ValueKind.TENSOR, facts_of(value, knowledge)) if knowledge else SOMETHING
    return ValueFacts(ValueKind.NUMBER, number_type=type(value).__name__)


def item_of(value: object) -> IndexItem | IndexKind:
    """The kind of an index item, from the object itself."""
    if isinstance(value, torch.Tensor):
        kind = IndexKind.MASK if value.dtype == torch.bool else IndexKind.TENSOR
        return IndexItem(kind, None, rank=value.dim(), is_tensor=True)  # type: ignore[arg-type]  # filled in later
    if isinstance(value, list):
        return IndexItem(IndexKind.TENSOR, None, rank=1)  # type: ignore[arg-type]
    kinds = {int: IndexKind.INT, type(None): IndexKind.NONE, slice: IndexKind.SLICE}
    return kinds.get(type(value), IndexKind.UNKNOWN)


def with_facts(line: str, names: dict[str, object], knowledge: int) -> Case | None:
    """The write of `line` with facts read from `names`, the state just before it."""
    holder = next(
        (h for h in ("y[0]", "y[..., 1:]", "y.t()", "y.view(-1)", "y.T", "y.diagonal()") if f"{h}." in line), None
    )
    made = case(line + "\n", written=NOTHING, nth=0)
    write = made.write
    if write.value is not None:
        try:
            written = eval(compile(ast.Expression(write.value), "<value>", "eval"), dict(names))
        except (RuntimeError, IndexError, TypeError):
            return None
        write = replace(write, written=value_of(written, knowledge))
    index = []
    for item in write.index:
        if item.kind is IndexKind.UNKNOWN:
            told = item_of(eval(compile(ast.Expression(item.node), "<item>", "eval"), dict(names)))
            item = replace(told, node=item.node) if isinstance(told, IndexItem) else IndexItem(told, item.node)
        index.append(item)
    write = replace(write, index=tuple(index), tensor=facts_of(names["y"], knowledge))
    if holder is not None:
        write = replace(write, holder=next(n for n in ast.walk(write.target) if ast.unparse(n) == "y"))
    return replace(made, write=write)


def check(line: str, shape: tuple[int, ...], dtype: object, seed: int, knowledge: int) -> int:
    """Compare every form of the write `line`; how many there were (none when the original itself raises)."""
    before = namespace(shape, dtype, seed)
    try:
        exec(SETUP, before)
    except RuntimeError:
        return 0
    made = with_facts(line, before, knowledge)
    expected = reference(SETUP + line, namespace(shape, dtype, seed))
    if expected is None or made is None:
        return 0
    compared = 0
    offered = rebind(made.source, made.write, made.spelling)
    for rewrite in () if isinstance(offered, Refusal) else offered:
        built = rewrite.build(made.source)
        if isinstance(built, Refusal):
            continue
        text = edits.apply(made.source.text, built)
        found = run(SETUP + text, namespace(shape, dtype, seed))
        assert len(found.tensors) == len(expected.tensors), text
        for (name, a), (_, b) in zip(found.tensors, expected.tensors, strict=True):
            assert same(a, b), f"{name} differs after {text!r}"
        for a, b in zip(found.gradients, expected.gradients, strict=True):
            assert close(a, b), f"a gradient differs after {text!r}"
        compared += 1
    return compared


def lines(rank: int) -> Iterator[str]:
    """Every statement of the grid for tensors of `rank` dimensions."""
    for index, value in itertools.product(INDICES[rank], VALUES):
        yield f"y[{index}] = {value}"
    for index, operand, operator in itertools.product(
        INDICES[rank], ("2", "s", "s64", "y.mean()", "row"), ("+", "*", "/")
    ):
        yield f"y[{index}] {operator}= {operand}"
    for operand, operator in itertools.product(OPERANDS, ("+", "-", "*", "/", "**", "//", "%")):
        yield f"y {operator}= {operand}"
    for method, use in itertools.product(METHODS, USES):
        yield use.format(method)


GRID = {shape: tuple(lines(len(shape))) for shape in SHAPES}
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_rewrite_is_equal_to_the_write(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    line = data.draw(st.sampled_from(GRID[shape]))
    dtype = data.draw(st.sampled_from(DTYPES))
    check(line, shape, dtype, data.draw(st.integers(0, 3)), data.draw(st.sampled_from((0, 1, 2))))


def test_the_grid_is_mostly_alive() -> None:
    """Of a fixed sample most originals run, and every form is reached: else equality would say little."""
    drawn = random.Random(0)
    compared = [
        check(drawn.choice(GRID[s]), s, torch.float32, 0, k) for s in SHAPES for k in (0, 1, 2) for _ in range(40)
    ]
    assert sum(count > 0 for count in compared) > 0.7 * len(compared)
    assert sum(compared) > 1.3 * len(compared)
