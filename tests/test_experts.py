"""Every `*.expert.py` computes what the rewrite beside it does, and the rewrite needs no more than the expert did."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from test_fixtures import FOLDER, contracted, leaves, load

torch = pytest.importorskip("torch")

EXPERTS = [
    pytest.param(path, id=f"{path.parent.name}/{path.name.split('.')[0]}")
    for path in sorted(FOLDER.glob("*/*.expert.py"))
]

# Where the rewrite has more than the expert's version, and why.
_STATEMENTS = "the author's own statements and names stay, where the expert wrote the function anew"
LONGER = {
    "augmented_assignment/argument_of_a_helper": _STATEMENTS,
    "masked_assignment/inverse_first": _STATEMENTS,
}


def _doubled(arguments: tuple[object, ...]) -> tuple[object, ...]:
    """The arguments in float64, while buffers are made in float32: what is put into one is cast."""
    return tuple(a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments)


def _of_sums_beyond_half(_: tuple[object, ...]) -> tuple[object, ...]:
    """The elements add up to nothing, and those of each half to what isn't finite."""
    return (torch.tensor([[-4e4, -4e4], [0, 0], [1, 1], [4e4, 4e4]], dtype=torch.float16),)


# Where it has more because the expert takes for granted what no caller need keep to: with these arguments the expert's
# version computes something else than the original, or fails.
GRANTED: dict[str, Callable[[tuple[object, ...]], tuple[object, ...]]] = {
    "loop_filled_buffer/enumerated": _doubled,
    "loop_filled_buffer/scales": _doubled,
    "loop_filled_buffer/zipped_rows": _doubled,
    "multi_view_write/halves_by_chunk": _of_sums_beyond_half,
    "out_argument/product": _doubled,
    "recurrent_buffer/advantages_from_the_end": _doubled,
    "recurrent_buffer/begun_before_the_loop": _doubled,
    "recurrent_buffer/last_dimension": lambda given: (given[0], torch.tensor([0.4], dtype=torch.float64)),
    "recurrent_buffer/product_with_a_matrix": lambda given: (*_doubled(given[:1]), given[1]),
    "recurrent_buffer/running_product": lambda given: (torch.rand(0, 2),),
    "recurrent_buffer/two_steps_back": _doubled,
}


def statements(tree: ast.Module) -> int:
    """How many there are, without imports and `case()`; a name that is returned at once makes none of its own."""
    left = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "case")]
    blocks = [left, *(b for s in left for node in ast.walk(s) if isinstance(b := getattr(node, "body", None), list))]
    blocks += [node.orelse for s in left for node in ast.walk(s) if isinstance(node, ast.If)]
    returned = sum(_is_returned(*pair) for block in blocks for pair in pairwise(block))
    return sum(not isinstance(s, (ast.Import, ast.ImportFrom)) for block in blocks for s in block) - returned


def _is_returned(statement: ast.stmt, following: ast.stmt) -> bool:
    if not isinstance(statement, (ast.Assign, ast.AugAssign)) or not isinstance(following, ast.Return):
        return False
    target = statement.target if isinstance(statement, ast.AugAssign) else statement.targets[-1]
    return following.value is not None and ast.unparse(target) == ast.unparse(following.value)


def names(tree: ast.Module) -> set[str]:
    """All that is bound somewhere."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_there_are_forty() -> None:
    assert len(EXPERTS) >= 40
    assert len({path.values[0].parent for path in EXPERTS}) >= 12


@pytest.mark.parametrize("path", EXPERTS)
def test_the_expert_computes_the_same(path: Path) -> None:
    function, _ = load(path)
    rewritten, _ = load(path.with_name(path.name.replace(".expert.", ".after.")))
    torch.default_generator.manual_seed(0)
    _, inputs = load(path)
    for arguments in inputs:
        found, expected = _outcome(function, arguments), _outcome(rewritten, arguments)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def _outcome(function: object, arguments: tuple[object, ...]) -> list[object]:
    """What a function returns, or the losses it differentiates, and the gradients of its arguments."""
    torch.default_generator.manual_seed(0)
    given = leaves(arguments)
    result = function(*given)  # type: ignore[operator]  # a function
    if result is not None:
        contracted(result).backward()
    inputs = [a for a in given if isinstance(a, torch.Tensor) and a.requires_grad]
    return [result.detach() if result is not None else None] * (result is not None) + [leaf.grad for leaf in inputs]  # type: ignore[attr-defined]  # tensors


@pytest.mark.parametrize("path", EXPERTS)
def test_the_rewrite_needs_no_more(path: Path) -> None:
    before, after, expert = (
        ast.parse(path.with_name(path.name.replace(".expert.", f".{kind}.")).read_text())
        for kind in ("before", "after", "expert")
    )
    more = statements(after) - statements(expert)
    new = len(names(after) - names(before)) - len(names(expert) - names(before))
    name = f"{path.parent.name}/{path.name.split('.')[0]}"
    assert (more > 0 or new > 0) == (name in LONGER or name in GRANTED), f"{more} more statements, {new} more names"


@pytest.mark.parametrize("name", GRANTED)
def test_what_the_expert_takes_for_granted_the_rewrite_does_not(name: str) -> None:
    torch.set_default_dtype(torch.float32)
    torch.default_generator.manual_seed(0)
    path = FOLDER / f"{name}.expert.py"
    _, inputs = load(path)
    arguments = GRANTED[name](inputs[0])
    expected, found, expert = (
        _forward(load(path.with_name(path.name.replace(".expert.", f".{kind}.")))[0], arguments)
        for kind in ("before", "after", "expert")
    )
    assert expected is not None
    assert _is_same(found, expected)
    assert not _is_same(expert, expected)


def _forward(function: Callable[..., object], arguments: tuple[object, ...]) -> torch.Tensor | None:
    """What a function returns; None where it fails."""
    with torch.no_grad():
        try:
            return function(*(a.clone() if isinstance(a, torch.Tensor) else a for a in arguments))  # type: ignore[return-value]
        except (RuntimeError, IndexError):
            return None


def _is_same(found: torch.Tensor | None, expected: torch.Tensor | None) -> bool:
    """Bit for bit."""
    if found is None or expected is None:
        return found is expected
    return found.dtype == expected.dtype and torch.equal(found, expected)
