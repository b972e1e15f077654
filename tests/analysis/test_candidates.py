"""What the analysis leaves out: no hazard that running every function of a file would have told."""

from __future__ import annotations

import ast
import textwrap
import warnings
from pathlib import Path

import pytest

from gradfix.analysis.analyse import analyse_tree
from gradfix.analysis.facts import ModuleFacts
from gradfix.analysis.text.candidates import candidates, every_function
from gradfix.analysis.text.survey import FUNCTIONS
from gradfix.findings import Severity
from gradfix.source import Source

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = sorted(FIXTURES.rglob("*.py"))


def _parsed(text: str) -> tuple[Source, ast.Module]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Source.from_text("program.py", text), ast.parse(text)


def _hazards(facts: ModuleFacts) -> list[tuple[object, ...]]:
    found = [*facts.writes, *facts.fills, *(call for call in facts.backward_calls if call.severity is not None)]
    return [
        (f.function, f.severity, f.hazards, getattr(f, "obstacles", ()))
        for f in found
        if f.severity is not None and f.severity is not Severity.INFO
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_hazard_is_lost(path: Path) -> None:
    source, tree = _parsed(path.read_bytes().decode("utf-8-sig"))
    chosen, every = candidates(tree), every_function(tree)
    if chosen != every:  # else both would be the same analysis
        assert _hazards(analyse_tree(source, tree, chosen)) == _hazards(analyse_tree(source, tree, every))


def _worth(program: str) -> set[str]:
    _, tree = _parsed(textwrap.dedent(program))
    chosen = candidates(tree).functions
    return {node.name for node in ast.walk(tree) if isinstance(node, FUNCTIONS) and id(node) in chosen}


CLASSES = """
    import torch
    from torch import nn
    class Block(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.lin = nn.Linear(width, width)
        def forward(self, x):
            h = self.lin(x).exp()
            h += 1
            return h
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(3)])
        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x
    def build():
        return Net()
"""


def test_building_a_module_is_no_reason_to_run() -> None:
    assert _worth(CLASSES) == {"forward"}


def test_calling_what_was_built_is() -> None:
    assert "use" in _worth(CLASSES + "    def use(x):\n        net = build()\n        return net(x)\n")


@pytest.mark.parametrize(
    "body",
    [
        "count = 0\n    for i in range(3):\n        count += 1\n    return count",
        "table = {}\n    for key in n.keys():\n        table[key] = n[key]\n    return table",
        "parts = []\n    parts += [n]\n    return parts",
        "total = 0\n    total += n.shape[0]\n    return total",
        "text = 'a'\n    text += f'{n}'\n    return text",
    ],
)
def test_numbers_and_containers_are_no_tensors(body: str) -> None:
    assert _worth(f"def f(n):\n    {body}\n") == set()


@pytest.mark.parametrize(
    "body",
    [
        "n += 1\n    return n",
        "total = 0\n    total += n\n    total += 1\n    return total",
        "rows = [n]\n    rows[0] += 1\n    return rows",
        "rows = []\n    rows.append(n)\n    for row in rows:\n        row *= 2\n    return rows",
        "table = {}\n    table['a'] = n\n    table['a'][0] = 1\n    return table",
        "a, b = 1, n\n    b -= a\n    return b",
    ],
)
def test_what_may_be_a_tensor_is(body: str) -> None:
    assert _worth(f"def f(n):\n    {body}\n") == {"f"}
