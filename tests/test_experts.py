"""Every `*.expert.py` computes what the rewrite beside it does, and the rewrite needs no more than the expert did."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
_FITTED = "dtype and shape of what is put in aren't known, so each slot is fitted to the buffer, which stays for that"
_STATEMENTS = "the author's own statements and names stay, where the expert wrote the function anew"
LONGER = {
    "multi_view_write/halves_by_chunk": "the base is made of its parts again, where the expert did without it",
    "augmented_assignment/argument_of_a_helper": _STATEMENTS,
    "loop_filled_buffer/backwards": _FITTED,
    "loop_filled_buffer/enumerated": _FITTED,
    "loop_filled_buffer/only_some_slots": "the slots that no round writes are kept from the round before",
    "loop_filled_buffer/scales": _FITTED,
    "loop_filled_buffer/zipped_rows": _STATEMENTS,
    "masked_assignment/inverse_first": _STATEMENTS,
    "out_argument/product": "the result is cast to the dtype of the buffer, which isn't known to be its own",
    "recurrent_buffer/advantages_from_the_end": _FITTED,
    "recurrent_buffer/begun_before_the_loop": "the list begins with slots of the buffer, since the first is a number",
    "recurrent_buffer/last_dimension": _FITTED,
    "recurrent_buffer/product_with_a_matrix": "the buffer stays, where the expert made it a list from the beginning",
    "recurrent_buffer/running_product": _FITTED,
    "recurrent_buffer/two_steps_back": _FITTED,
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
    assert (more > 0 or new > 0) == (name in LONGER), f"{more} more statements, {new} more names"
