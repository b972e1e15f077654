"""Programs that once broke the analysis, or made it say too much: what it must say of them now."""

from __future__ import annotations

import ast
import textwrap

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import ModuleFacts
from gradfix.findings import Severity
from gradfix.source import Source


def facts_of(program: str) -> ModuleFacts:
    return analyse(Source.from_text("program.py", "import torch\nfrom torch import nn\n" + textwrap.dedent(program)))


def test_a_helper_fills_the_buffer_in_a_branch() -> None:
    facts_of(
        """
        def put(target, v):
            target[0] = v

        def f(x):
            y = torch.zeros(3)
            if x.exp().sum() > 1:
                put(y, x.exp()[0])
            return y.sum()
        """
    )


def test_layers_in_unknown_order_prove_nothing() -> None:
    facts = facts_of(
        """
        class Block(nn.Module):
            def __init__(self, n, reps):
                super().__init__()
                layers = []
                for _ in range(reps):
                    layers.append(nn.Linear(n, n))
                    layers.append(nn.ReLU())
                layers = layers[:-1]  # no activation at the end
                self.layers = nn.Sequential(*layers)

            def forward(self, x):
                h = self.layers(x)
                h += x
                return h
        """
    )
    assert [write.severity for write in facts.writes] == [Severity.INFO]


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        ("h /= 2\n        return h", [Severity.ERROR]),
        ("return h / 2", []),
        ("x /= 2\n        return h", [Severity.INFO]),
    ],
)
def test_a_forward_is_run_for_heirs_that_put_a_write_in_the_place_of_another_method(
    scale: str, told: list[Severity]
) -> None:
    facts = facts_of(
        f"""
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        h = torch.exp(self.fc(x))
        return self.scale(x * 2, h).sum() + h.sum()

    def scale(self, x, h):
        return h

class Scaled(Base):
    def scale(self, x, h):
        {scale}
"""
    )
    assert [write.severity for write in facts.writes] == told


def test_heirs_may_have_no_method_of_their_own() -> None:
    facts = facts_of(
        """
class Base(nn.Module):
    def forward(self, x):
        h = x.exp()
        return self.change(h).sum()

    def change(self, h):
        return h * 2

class InPlace(Base):
    def change(self, h):
        h += 1
        return h

class Named(InPlace):
    pass
"""
    )
    assert [write.severity for write in facts.writes] == [Severity.WARNING]


def test_layers_answer_isinstance() -> None:
    facts = facts_of(
        """
        class Fused(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(2, 2, 3, bias=False)
                self.norm = nn.BatchNorm2d(2)

            def forward(self, x):
                kernel = self.conv.weight
                if isinstance(self.norm, nn.BatchNorm2d):
                    kernel = kernel * self.norm.weight.view(-1, 1, 1, 1)
                kernel += 1  # a parameter only if the norm were something else
                return nn.functional.conv2d(x, kernel)
        """
    )
    assert [write.severity for write in facts.writes] == [Severity.INFO]


def test_under_autocast_a_product_keeps_a_copy() -> None:
    program = """
        x = torch.randn(3, 3, requires_grad=True)
        h = x + 1
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled={}):
            wide = h @ h
        h += 1
        wide.float().sum().backward()
        """
    assert [write.severity for write in facts_of(program.format(True)).writes] == [Severity.INFO]
    assert [write.severity for write in facts_of(program.format(False)).writes] == [Severity.ERROR]


def test_a_later_round_is_not_taken_for_an_earlier_one() -> None:
    facts = facts_of(
        """
        x = torch.randn(3, requires_grad=True)
        out = x * 2
        step = 0
        while step < 2:
            out = torch.cos(out)
            step += 1
        out *= 2
        out.sum().backward()
        """
    )
    assert [write.severity for write in facts.writes] == [Severity.INFO]


def test_a_helper_is_judged_by_all_its_callers() -> None:
    facts = facts_of(
        """
        def shift(t):
            t += 1
            return t

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 3)

            def forward(self, x):
                return shift(torch.sigmoid(self.fc(x)))

        class Other(Net):
            def forward(self, x):
                return shift(self.fc(x))
        """
    )
    assert [write.severity for write in facts.writes] == [Severity.WARNING]


def test_a_method_that_asks_for_no_gradients_says_nothing_of_forward() -> None:
    facts = facts_of(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 3)

            def forward(self, x):
                y = torch.sigmoid(self.fc(x))
                y += 1
                return y

            def predict(self, x):
                return self.forward(x).argmax(-1)
        """
    )
    assert [write.severity for write in facts.writes] == [Severity.ERROR]


@pytest.mark.parametrize(
    "program",
    [
        "\n".join(f"{' ' * i}for i{i} in range(n{i}):" for i in range(19)) + "\n" + " " * 19 + "x = x + 1",
        "x = " + " + ".join(["x"] * 800),
        "x = x" + ".exp()" * 800,
        "\n".join(f"def f{i}(x):\n    return f{i + 1}(x) + f{i + 1}(x * 2)" for i in range(30))
        + "\ndef f30(x):\n    x += 1\n    return x\nx = f0(x)",
        "def f(n, x):\n    x += 1\n    return f(n - 1, x) + g(x)\n"
        "def g(x):\n    return f(2, x) + g(x * 2)\nx = f(10, x)",
        "y = x.exp()\n" + "y[0] = 1\n" * 2000 + "x = y",
    ],
    ids=["nested loops", "long sum", "long chain", "calls that double", "endless recursion", "many writes"],
)
def test_ends_on(program: str) -> None:
    facts = facts_of(f"x = torch.randn(3, requires_grad=True)\n{program}\nx.sum().backward()\n")
    assert len(facts.backward_calls) == 1


def test_a_file_without_any_write_still_tells_of_gradients_that_never_arrive() -> None:
    facts = facts_of(
        """
        x = torch.randn(3, requires_grad=True).cos()
        print(x.grad)
        """
    )
    assert len(facts.non_leaf_grads) == 1


def test_a_constructor_without_trouble_runs_once_and_what_it_wrote_is_told() -> None:
    facts = facts_of(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.ones(3))
                made = self.w * 2
                self.made = made
                made[0] = 1
            def forward(self, x):
                x[0] = 1
                return x * self.w
        """
    )
    (write,) = (w for w in facts.writes if w.function == "Net.__init__")
    assert write.severity is Severity.INFO
    assert any(o.name == "self.made" for o in write.obstacles)


REFUSING = """
def normalised(matmul, x, buffer, n):
    norm = x.norm(2, -1, keepdim=True)
    norm.clamp_(min=1e-6)
    x = x / norm
    step = matmul(x)
    for _ in range(n):
        WRITE
        step.mul_(norm).exp_().add_(1)
    return step * norm
"""


@pytest.mark.parametrize("write", ["torch.mul(step, x, out=buffer)", "buffer = torch.sum(step, -1, out=buffer)"])
def test_what_out_must_take_is_data(write: str) -> None:
    facts = facts_of(REFUSING.replace("WRITE", write))
    assert Severity.WARNING not in {record.severity for record in facts.writes}


@pytest.mark.parametrize(
    "write",
    [
        "torch.mul(buffer, buffer, out=buffer)",  # nothing of `x`
        "torch.mul(buffer, x.shape[0], out=buffer)",
        "torch.mul(step, x, out=None)",
        "if n > 3: torch.mul(step, x, out=buffer)",
        "with torch.no_grad(): torch.mul(step, x, out=buffer)",
    ],
)
def test_out_that_may_be_passed_with_gradients_tells_nothing(write: str) -> None:
    facts = facts_of(REFUSING.replace("WRITE", write))
    assert Severity.WARNING in {record.severity for record in facts.writes}


def test_what_went_through_out_requires_no_grad() -> None:
    facts = facts_of(
        """
        def step(x, weights, buffer, fast):
            h = (x * weights).exp()
            if fast:
                torch.mul(h, h, out=buffer)
                h += 1
            else:
                h -= 1
            return h
        """
    )
    warned = [write.node for write in facts.writes if write.severity is Severity.WARNING]
    assert [ast.unparse(node) for node in warned] == ["h -= 1"]


FILLED_IN_PARTS = """
class Causal(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, width)

    def forward(self, x, padding):
        y = MADE
        seen = int(2 * padding.sum())
        if seen > 0:
            y[:, :, :seen] = self.conv(x[:, :, :seen])
        SECOND
        return y
"""
SECOND = "if seen < 4: y[:, :, seen:] = self.conv(x[:, :, seen:])"


@pytest.mark.parametrize(
    ("made", "second", "fills"),
    [
        ("torch.empty(2, 2, 4)", SECOND, 0),
        ("torch.zeros(2, 2, 4)", SECOND, 1),
        ("torch.empty(2, 2, 4)", "pass", 1),
        ("torch.empty(2, 2, 4)", "if seen < 4: y[:, :, seen:] = 0", 1),
    ],
)
def test_branches_that_fill_uninitialised_memory_complete_each_other(made: str, second: str, fills: int) -> None:
    assert len(facts_of(FILLED_IN_PARTS.replace("MADE", made).replace("SECOND", second)).fills) == fills


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("x += 0.1 * f(x)", [Severity.WARNING]),
        ("h = x.exp() + 1\n            y = f(h)\n            h[0] = 0\n            x = y + h", [Severity.WARNING]),
        ("x = x + f(x)\n            x += 1", [Severity.INFO]),
        ("x += 0.1 * len(x)", [Severity.INFO]),
    ],
)
def test_what_a_function_is_given_to_call_may_save_its_arguments(step: str, told: list[Severity]) -> None:
    facts = facts_of(
        f"""
        def solve(f, x: torch.Tensor):
            x = x * 1
            {step}
            return x.sum()
        """
    )
    assert [write.severity for write in facts.writes] == told


ENTRIES = """
from helpers import block, names

class Head(nn.Module):
    def __init__(self, key=names.charge):
        super().__init__()
        self.key = key
        self.net = block(3)

    def forward(self, inputs):
        x = inputs[names.x]
        {read}
        y = self.net({given}) * 2
        inputs[self.key] = y
        return inputs
"""


@pytest.mark.parametrize(
    ("read", "given", "told"),
    [
        pytest.param('h = inputs["scalar"]', "h", [], id="a name"),
        pytest.param('h = inputs[names.h, "scalar"]', "h", [], id="a name within a path"),
        pytest.param("h = inputs[0]", "h", [Severity.WARNING], id="a number"),
        pytest.param("h = inputs[names.h]", "h", [Severity.WARNING], id="who knows what"),
    ],
)
def test_what_has_entries_by_name_gets_them_by_key(read: str, given: str, told: list[Severity]) -> None:
    facts = facts_of(ENTRIES.format(read=read, given=given))
    assert [write.severity for write in facts.writes if write.severity is not Severity.INFO] == told


def test_entries_by_name_are_tensors_that_are_written() -> None:
    facts = facts_of(
        """
        class Head(nn.Module):
            def forward(self, inputs):
                h = inputs["scalar"].exp()
                h[0] = 1
                return h.sum()
        """
    )
    assert [write.severity for write in facts.writes] == [Severity.WARNING]
