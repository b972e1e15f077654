"""`place_of`: what a write can be turned into an assignment to."""

from __future__ import annotations

import ast

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.rewrite.grounds.places import place_of
from gradfix.source import Source

HEAD = (
    "import torch\nw = torch.rand(3, 3, requires_grad=True)\nitems = [torch.sigmoid(w)]\n"
    "y = w.exp()\nd = {'a': w.exp()}\n"
)


@pytest.mark.parametrize(
    ("write", "place"),
    [
        ("items[0].detach().zero_()", "items[0]"),
        ("items[0].view(-1)[0] = 1", "items[0]"),
        ("items[0][1] = 1", "items[0]"),
        ("d['a'].view(-1).zero_()", "d['a']"),
        ("y[0].t().zero_()", "y"),
        ("y.t()[0] = 1", "y"),
    ],
)
def test_items_of_lists_and_dicts_are_places_and_those_of_tensors_are_not(write: str, place: str) -> None:
    text = f"{HEAD}{write}\n(items[0].sum() + y.sum() + d['a'].sum()).backward()\n"
    (found,) = analyse(Source.from_text("f.py", text)).writes
    made = place_of(found)
    assert made is not None
    assert ast.unparse(made) == place
