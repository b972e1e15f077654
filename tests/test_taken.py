"""What fixes of one pass keep others from: overlapping places, and names that come to mean something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradfix import edits as edit_sets
from gradfix import registry
from gradfix.edits import Edit
from gradfix.engine import engine
from gradfix.engine.taken import Spoken, Taken
from gradfix.findings import Applicability, Severity
from gradfix.source import Source, Span


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=12))
def test_what_is_taken_never_overlaps_and_nothing_free_is_refused(places: list[tuple[int, int]]) -> None:
    taken = Taken()
    kept: list[Edit] = []
    for start, size in places:
        edit = Edit(Span(start, start + size), "x")
        clash = edit_sets.overlaps(kept, [edit]) or any(not size and edit.span == other.span for other in kept)
        assert taken.collides([edit]) == clash
        if not clash:
            taken.take([edit])
            kept.append(edit)


@pytest.mark.parametrize(
    ("one", "other", "collides"),
    [
        ([("x", "x_copy")], [("3", "x.sum()")], True),  # a name is given up that another fix puts somewhere
        ([("x", "x_copy")], [("3", "x_copy.sum()")], False),
        ([("x", "x_copy")], [("x", "x_copy"), ("3", "x_copy = x.clone()")], False),  # both rename it
        ([("3", "x.sum()")], [("3", "x.max()")], False),
        ([("x", "x + 1")], [("3", "x.sum()")], False),  # no renaming
    ],
)
def test_names_that_one_fix_gives_up_and_another_puts_somewhere(
    one: list[tuple[str, str]], other: list[tuple[str, str]], collides: bool
) -> None:
    source = Source.from_text("f.py", "y = x + 3\n")

    def edits(changes: list[tuple[str, str]]) -> list[Edit]:
        return [Edit(Span(source.text.index(old), source.text.index(old) + 1), new) for old, new in changes]

    for first, second in ((one, other), (other, one)):
        spoken = Spoken()
        spoken.take(source, edits(first))
        assert spoken.collides(source, edits(second)) == collides


def test_a_base_that_one_fix_renames_and_another_takes_again() -> None:
    text = (
        "import torch\n\nx = torch.rand(3, requires_grad=True)\nq = torch.clone(x)\nx[1] *= q.sum()\n"
        "part = x.reshape(-1)\npart.narrow(0, 0, 2).exp_()\nloss = part.var() + x.sum()\nloss.backward()\n"
    )
    policy = engine.Policy(Severity.INFO, Applicability.SAFE)
    after = edit_sets.apply(text, engine.fix(Source.from_text("f.py", text), registry.builtin(), policy).edits)
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    found: dict[str, torch.Tensor] = {}
    exec(compile(after, "f.py", "exec"), found)
    torch.manual_seed(0)
    x = torch.rand(3, requires_grad=True)
    scaled = torch.stack([x[0], x[1] * x.sum(), x[2]])
    part = torch.cat([scaled[:2].exp(), scaled[2:]])
    expected = part.var() + part.sum()
    expected.backward()
    assert torch.allclose(found["loss"], expected)
    assert torch.allclose(found["x"].grad, x.grad)


def test_a_line_put_before_a_statement_and_what_is_put_at_its_start_dont_mix() -> None:
    text = (
        "import torch\nimport torch.nn as nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.layer0 = nn.ReLU(inplace=True)\n"
        "        self.drop = nn.Dropout(0.3)\n\n    def forward(self, x):\n"
        "        h = self.layer0(x)\n        y = self.drop(x)\n        return y + h.sin()\n\n\n"
        "net = Net()\nx = torch.randn(2, 2, requires_grad=True)\na = 2.0 ** x\nnn.ReLU(True)(a)\nout = net(a)\n"
        "loss = out.sum() + a.sum()\nloss.backward()\n"
    )
    policy = engine.Policy(Severity.INFO, Applicability.SAFE, "clone")
    result = engine.fix(Source.from_text("f.py", text), registry.builtin(), policy)
    assert result.edits
    assert not [one.refusal for one in result.left if one.refusal and "parse" in one.refusal.reason]
