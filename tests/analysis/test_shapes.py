"""What the analysis says of shapes, against torch."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from gradfix import torch_ops, torch_tables
from gradfix.analysis.analyse import analyse
from gradfix.source import Source

torch = pytest.importorskip("torch")

SETUP = """\
import torch
import torch.nn.functional as F

v = torch.rand(5, requires_grad=True)
m = torch.rand(3, 5, requires_grad=True)
x = torch.rand(4, 3, 5, requires_grad=True)
b = torch.rand(2, 3, 4, 5, requires_grad=True)
q = torch.rand(4, 1, 1, requires_grad=True)
s = x.shape
sc = torch.rand((), requires_grad=True)
i = torch.tensor([0, 2, 1])
idx2 = torch.tensor([[0, 1], [1, 0]])
z5 = torch.rand(5, 7, requires_grad=True)
bl = torch.rand(2, 1, 3, 4, requires_grad=True)
bk = torch.rand(5, 4, 6, requires_grad=True)
n0 = int(x.shape[0])
dd = n0 - 3
order = (2, 0, 1)
a = x if n0 > 3 else m
xs = [x, x]
w = {"d": x}
parts = []
for k in range(3):
    parts.append(x[k])


def helper(t, n):
    return t.reshape(n, -1)


"""
EXPRESSIONS = tuple((Path(__file__).parent / "shapes.txt").read_text().splitlines())
AT_ONCE = 60
TOLD = 0.75  # of the expressions have a shape that is known
LEFT_OUT = ("rand", "cuda", "dropout", "empty", "quantize", "fbgemm", "miopen", "cudnn", "mkldnn", "special", "lobpcg")
REFUSED = (RuntimeError, TypeError, ValueError, IndexError, AttributeError)
Shape = tuple[int | None, ...]


def real(expressions: Iterable[str], *refused: type[Exception]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Those that give a tensor of floating numbers, with its shape; without those that torch refuses."""
    names: dict[str, object] = {}
    exec(SETUP, names)
    for expression in expressions:
        with warnings.catch_warnings(), suppress(*refused):
            warnings.simplefilter("ignore")
            result = eval(expression, dict(names))
            if isinstance(result, torch.Tensor) and result.is_floating_point():
                yield expression, tuple(result.shape)


def claimed(expressions: Sequence[str]) -> list[Shape | None]:
    """What is known of the shape of each, by a write to it."""
    first = SETUP.count("\n")
    shapes: list[Shape | None] = []
    for start in range(0, len(expressions), AT_ONCE):
        some = expressions[start : start + AT_ONCE]
        text = SETUP + "".join(f"y{n} = {expression}\ny{n}.mul_(2)\n" for n, expression in enumerate(some))
        told = {write.node.lineno: write.tensor.shape for write in analyse(Source.from_text("f.py", text)).writes}
        shapes += [told.get(first + 2 * n + 2) for n in range(len(some))]
    return shapes


def disagreements(pairs: Iterable[tuple[str, tuple[int, ...]]]) -> list[tuple[str, Shape | None, tuple[int, ...]]]:
    """Expressions whose shape is told wrong; and asserts that most are told at all."""
    pairs = list(pairs)
    shapes = claimed([expression for expression, _ in pairs])
    assert sum(shape is not None for shape in shapes) > TOLD * len(pairs)
    found = []
    for (expression, size), shape in zip(pairs, shapes, strict=True):
        if shape is not None and (
            len(shape) != len(size) or any(a not in (None, b) for a, b in zip(shape, size, strict=True))
        ):
            found.append((expression, shape, size))
    return found


def test_shapes_of_what_users_write() -> None:
    pairs = list(real(EXPRESSIONS))
    assert len(pairs) > 200
    assert disagreements(pairs) == []


def calls() -> Iterator[str]:
    """Functions and methods of the table on tensors of several shapes, which broadcast where torch lets them."""
    for name in torch_tables.lines(torch_tables.chosen()):
        kind, _, short = name.partition(".")
        op = torch_ops.method(short) if kind == "Tensor" else torch_ops.function(name) if kind == "torch" else None
        if op is None or short.endswith("_") or any(word in short for word in LEFT_OUT):
            continue
        for overload in op.overloads:
            kinds = [kind for kind in map(_kind, overload.split()) if kind]
            if not 0 < kinds.count("T") <= len(kinds) <= 3 or kinds[0] != "T" or "?" in kinds:
                continue
            for chosen in itertools.product("vxq", repeat=kinds.count("T")):
                left = iter(chosen)
                first, *others = (next(left) if kind == "T" else "1" for kind in kinds)
                rest = ", ".join(others)
                yield f"{first}.{short}({rest})" if kind == "Tensor" else f"{name}({', '.join([first, *others])})"


def _kind(parameter: str) -> str:
    """What to give a parameter: a tensor, a number, nothing; or what isn't tried here."""
    takes, separator, _ = parameter.partition(":")[2].partition("=")
    if parameter.startswith("*"):
        return ""
    if "T" in takes:
        return "T"
    return "" if separator else "N" if "N" in takes else "?"


def test_shapes_of_all_operators_of_the_table() -> None:
    pairs = list(real(dict.fromkeys(calls()), *REFUSED))
    assert len(pairs) > 1_000
    assert disagreements(pairs) == []


def test_calls_that_torch_refuses_are_analysed_all_the_same() -> None:
    texts = """
        m.permute(2, 0, 1); x.permute(1, 0); x.transpose(0, 5); x.select(7, 0); v.flatten(1, 3); x.unbind(4); x.view(7)
        m.movedim(4, 0); x.squeeze(9); x.unsqueeze(9); m.repeat(2); x.expand(3); x.narrow(5, 0, 1); x.chunk(2, 6)
        x.diagonal(0, 3, 4); x.unflatten(5, (2, 2)); v.mT; x.matmul(v[:2]); torch.cat([x, m], 5); x.split(2, 5)
        x.unfold(6, 2, 1); x.index_select(8, i); x.gather(4, idx2); x.flip(7); x.roll(1, 9); torch.stack([x, m], 7)
        x.mean(9); x.sum((0, 8)); sc.permute(0)
    """
    expressions = [one.strip() for line in texts.splitlines() for one in line.split(";") if one.strip()]
    assert len(expressions) == 29
    assert [one for one, _ in real(expressions, *REFUSED)] == []
    claimed(expressions)
