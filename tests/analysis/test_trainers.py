"""Training loops over networks and optimizers that are handed in, run on torch and held against the analysis.

`trainers.txt` holds them, each under `#---- NAME | ARGUMENTS`: `train(ARGUMENTS)` fails where a line is marked with a
code, and runs where none is. The analysis sees nothing but the loop, and warns at the marked lines alone.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gradfix.analysis.analyse import analyse  # noqa: E402
from gradfix.analysis.facts import ModuleFacts  # noqa: E402
from gradfix.edits import apply  # noqa: E402
from gradfix.findings import Refusal, Severity  # noqa: E402
from gradfix.rewrite import keep_graph  # noqa: E402
from gradfix.source import Source  # noqa: E402

nn = torch.nn
HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
MARK = re.compile(r"# <- (GF\d+)$", re.MULTILINE)
SYMPTOMS = {"GF403": "through the graph a second time", "GF404": "modified by an inplace operation"}


def _load() -> dict[str, tuple[str, str]]:
    text = Path(__file__).with_name("trainers.txt").read_text(encoding="utf-8")
    parts = re.split(r"^#---- (.*) \| (.*)\n", text, flags=re.MULTILINE)
    found = {
        name: (given, HEAD + body) for name, given, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }
    assert len(found) == len(parts) // 3
    return found


LOOPS = _load()


def mlp(inputs: int, outputs: int) -> Any:
    """A network whose every layer but the first saves its weight for the gradient of its input."""
    return nn.Sequential(nn.Linear(inputs, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, outputs))


class RNN(nn.Module):  # type: ignore[misc, name-defined]  # torch is looked for when the test runs
    """A recurrent network that gives its output and its hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(2, 3, batch_first=True)
        self.out = nn.Linear(3, 1)

    def init_hidden(self, batch: int) -> Any:
        return torch.zeros(1, batch, 3)

    def forward(self, x: Any, hidden: Any = None) -> Any:
        y, hidden = self.cell(x, hidden)
        return self.out(y), hidden


class LSTM(RNN):
    """The same with a pair for a state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(2, 3, batch_first=True)

    def init_hidden(self, batch: int) -> Any:
        return torch.zeros(1, batch, 3), torch.zeros(1, batch, 3)


class Mems(RNN):
    """One that detaches its state by itself, and gives its loss."""

    def forward(self, x: Any, y: Any, hidden: Any = None) -> Any:
        output, hidden = super().forward(x, hidden)
        return (output - y).pow(2).mean(), hidden.detach()


class TwoLosses(nn.Module):  # type: ignore[misc, name-defined]
    """Two networks in one, which give a loss each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = mlp(2, 1), mlp(2, 1)

    def forward(self, x: Any) -> Any:
        return self.a(x).mean(), self.b(x).mean()


class DictLosses(TwoLosses):
    """The same by name."""

    def forward(self, x: Any) -> Any:
        a, b = super().forward(x)
        return {"a": a, "b": b}


class Pool:
    """What hands out earlier results, detached."""

    def query(self, x: Any) -> Any:
        return x.detach()


class SAM(torch.optim.Adam):  # type: ignore[misc, name-defined]
    """An optimizer with a first step that leaves the parameters as they are."""

    def __init__(self, net: Any) -> None:
        super().__init__(net.parameters())

    def first_step(self, zero_grad: bool) -> None:
        self.zero_grad()


class Acc:
    """What starts backward as Accelerate and Fabric do."""

    def backward(self, loss: Any, **settings: Any) -> None:
        loss.backward(**settings)


def _frozen(net: Any) -> Any:
    return net.requires_grad_(False)


def _both(*nets: Any) -> Any:
    return torch.optim.Adam([p for net in nets for p in net.parameters()])


_CLASSES = (RNN, LSTM, Mems, TwoLosses, DictLosses, Pool, SAM, Acc)
WORLD = {made.__name__: made for made in _CLASSES} | {
    "torch": torch,
    "nn": nn,
    "mlp": mlp,
    "frozen": _frozen,
    "both": _both,
    "adam": lambda net: torch.optim.Adam(net.parameters()),
    "X": lambda width: torch.randn(3, width),
    "data": lambda width: [torch.randn(3, width) for _ in range(3)],
    "pairs": lambda: [(torch.randn(3, 2), torch.randn(3, 1)) for _ in range(3)],
    "seqs": lambda: [(torch.randn(2, 4, 2), torch.randn(2, 4, 1)) for _ in range(3)],
}


def _run(given: str, text: str) -> str:
    """The message that `train` fails with, if it does."""
    torch.default_generator.manual_seed(0)
    program: dict[str, Any] = {"__name__": "trainers"}
    exec(compile(text, "trainers.py", "exec"), program)
    known = dict(WORLD)
    call = ast.parse(f"train({given})", mode="eval").body
    assert isinstance(call, ast.Call)
    names = [str(keyword.arg) for keyword in call.keywords]
    for keyword in call.keywords:  # what stands before may be named by what follows
        known[str(keyword.arg)] = eval(compile(ast.Expression(keyword.value), "given", "eval"), known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program["train"](**{name: known[name] for name in names})
        except RuntimeError as error:
            return str(error)
    return ""


def _facts(text: str) -> ModuleFacts:
    return analyse(Source.from_text("trainers.py", text))


@pytest.mark.parametrize("name", LOOPS)
def test_the_marks_are_true(name: str) -> None:
    given, text = LOOPS[name]
    message, codes = _run(given, text), set(MARK.findall(text))
    assert bool(message) is bool(codes), message
    assert not codes or any(SYMPTOMS[code] in message for code in codes), message


@pytest.mark.parametrize("name", LOOPS)
def test_the_analysis_agrees(name: str) -> None:
    text = LOOPS[name][1]
    facts = _facts(text)
    found = {("GF403", again.node.lineno) for again in facts.second_backwards}
    found |= {("GF404", step.node.lineno) for step in facts.early_steps}
    lines = enumerate(text.splitlines(), 1)
    assert found == {(mark[1], number) for number, line in lines if (mark := MARK.search(line))}
    assert {fact.severity for fact in (*facts.second_backwards, *facts.early_steps)} <= {Severity.WARNING}


@pytest.mark.parametrize("name", LOOPS)
def test_a_kept_graph_cures_where_it_is_offered(name: str) -> None:
    given, text = LOOPS[name]
    source = Source.from_text("trainers.py", text)
    for again in _facts(text).second_backwards:
        made = keep_graph(source, again)
        if isinstance(made, Refusal):
            assert again.first is again.node or again.stepped is not None or again.of_gradients
            continue
        edits = made[0].build(source)
        assert not isinstance(edits, Refusal)
        assert _run(given, apply(text, edits)) == ""
