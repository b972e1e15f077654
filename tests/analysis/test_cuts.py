"""Cuts between leaves and losses: what they do to the loss, and what only looks like one."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gradfix import registry
from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import Cut
from gradfix.engine import engine
from gradfix.source import Source

HEAD = """\
import math
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Variable

from elsewhere import given

net = nn.Linear(3, 1)
data = torch.randn(4, 3)
y = net(data).mean()
"""


def cuts(body: str) -> list[Cut]:
    return list(analyse(Source.from_text("program.py", HEAD + textwrap.dedent(body))).cuts)


def told(body: str) -> list[tuple[str, str, str]]:
    return [(cut.severity.value, cut.kind.value, cut.effect.value) for cut in cuts(body)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("torch.tensor([y, y * 2]).sum().backward()", "tensor"),
        ("torch.as_tensor([y]).sum().backward()", "tensor"),
        ("y.new_tensor(y).backward()", "tensor"),
        ("Variable(y).backward()", "tensor"),
        ("torch.tensor(y.tolist()).backward()", "number"),
        ("torch.tensor(math.exp(y)).backward()", "number"),
        ("loss = torch.zeros(2)\nloss[0] = y.item()\nloss.sum().backward()", "number"),
        ("y.data.backward()", "data"),
        ("y.detach().backward()", "detach"),
        ("torch.detach(y).backward()", "detach"),
        ("y.detach_()\ny.backward()", "detach"),
        ("torch.from_numpy(np.tanh(y.detach().numpy())).backward()", "detach"),
        ("with torch.no_grad():\n    z = net(data)\nz.mean().backward()", "gradients-off"),
        ("(y > 0).float().backward()", "discrete"),
        ("net(data).argmax().float().backward()", "discrete"),
        ("y.long().float().backward()", "discrete"),
        ("y.to(torch.int64).float().backward()", "discrete"),
        ("b = torch.zeros(3, dtype=torch.long)\nb[0] = y\nb.float().sum().backward()", "discrete"),
        ("torch.autograd.grad(y.detach() * 2, list(net.parameters()))", "detach"),
        ("torch.autograd.grad(y, net.weight)[0].norm().backward()", "discrete"),
        ("F.one_hot(net(data).argmax(1), 3).float().sum().backward()", "discrete"),
        ("torch.linspace(y, 1.0, 5).sum().backward()", "discrete"),
        ("torch.linspace(0.0, y.item(), 5).sum().backward()", "number"),
        ("torch.full((3,), y.item()).sum().backward()", "number"),
        ("torch.full_like(data, fill_value=float(y)).sum().backward()", "number"),
        ("data.new_full((3,), y.item()).sum().backward()", "number"),
        ("torch.tensor([given[0] * y.item(), 2.0]).sum().backward()", "number"),
        ("torch.as_tensor([given[0] * y.item()]).sum().backward()", "number"),
        ("torch.tensor(given(y)).sum().backward()", "tensor"),
        ("torch.zeros(int(y.abs().item()) + 1).sum().backward()", "no-leaf"),
        ("data.sum().backward()", "no-leaf"),
    ],
)
def test_a_loss_without_a_graph_is_an_error(body: str, kind: str) -> None:
    assert told(body) == [("error", kind, "no-graph")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("total = 0.0\nfor _ in range(3):\n    total += y.item()\ntotal.backward()", ("error", "number", "number")),
        ("torch.tensor(y, requires_grad=True).backward()", ("error", "tensor", "new-leaf")),
        ("loss = Variable(y.data, requires_grad=True)\nloss.backward()", ("error", "data", "new-leaf")),
        ("y.round().backward()", ("warning", "flat", "zero")),
        ("torch.normal(net(data), 1.0).sum().backward()", ("warning", "flat", "zero")),
        ("torch.normal(0.0, std=net(data).exp()).sum().backward()", ("warning", "flat", "zero")),
        ("(y + (y * y).item()).backward()", ("warning", "number", "constant")),
        ("(y + torch.tensor([y, y]).sum()).backward()", ("warning", "tensor", "constant")),
        ("(y + math.exp(y.item())).backward()", ("warning", "number", "constant")),
        ("(y + float(np.exp(y.detach().numpy()))).backward()", ("warning", "detach", "constant")),
        ("(y + torch.exp(y.data * 2)).backward()", ("warning", "data", "constant")),
        (
            "a = np.abs(y.detach().numpy() - 1)\n(y + torch.from_numpy(a ** 2)).backward()",
            ("warning", "detach", "constant"),
        ),
        ("torch.tensor(np.log(y.detach().numpy()), requires_grad=True).backward()", ("error", "detach", "new-leaf")),
        (
            "z = torch.tensor(np.abs(y.detach().numpy()).sum())\nz.requires_grad_()\nz.backward()",
            ("error", "detach", "new-leaf"),
        ),
        (
            "z = net(data).argmax(1).float().mean()\nz.requires_grad = True\nz.backward()",
            ("warning", "discrete", "new-leaf"),
        ),
        ("z = net(data).detach().mean()\nz.requires_grad_()\nz.backward()", ("warning", "detach", "new-leaf")),
        (
            "with torch.no_grad():\n    out = net(data)\nz = out.pow(2).mean()\nz.requires_grad = True\nz.backward()",
            ("warning", "gradients-off", "new-leaf"),
        ),
        (
            "with torch.no_grad():\n    z = y * 2\nz.requires_grad_()\nz.backward()\nprint(z.grad)",
            ("info", "gradients-off", "new-leaf"),
        ),
        ("z = y.detach().requires_grad_()\nz.backward()\nprint(z.grad)", ("info", "detach", "new-leaf")),
        ("(y * math.exp(y.item())).backward()", ("info", "number", "partial")),
        ("(y * torch.exp(y.data)).backward()", ("info", "data", "partial")),
        ("(y + (y.round() - y).data).backward()", ("info", "data", "partial")),
        ("(y * y.item()).backward()", ("info", "number", "partial")),
        ("torch.as_tensor(given[0] * y.item()).backward()", ("info", "number", "partial")),
        ("torch.stack([given[0] * y.item()]).sum().backward()", ("info", "number", "partial")),
        ("(y + (y.round() - y).detach()).backward()", ("info", "detach", "partial")),
    ],
)
def test_what_else_a_cut_does(body: str, expected: tuple[str, str, str]) -> None:
    assert told(body) == [expected]


RETURNED = """
class Fitted(nn.Module):
    {attribute}
    def training_step(self, batch, error):
        {body}
"""


@pytest.mark.parametrize(
    ("attribute", "body", "expected"),
    [
        ("norm = None", "return torch.tensor([net(batch).mean()])", [("warning", "tensor", "returned")]),
        (
            "automatic_optimization = True",
            "return torch.tensor([net(batch).mean()])",
            [("warning", "tensor", "returned")],
        ),
        ("automatic_optimization = False", "return torch.tensor([net(batch).mean()])", []),
        ("scale = None", "return torch.tensor(self.levels) * eval('batch')", []),
        ("error = NotImplemented", "return torch.tensor(self.levels) * self.error(batch)", []),
    ],
)
def test_a_loss_is_returned_if_somebody_awaits_it(
    attribute: str, body: str, expected: list[tuple[str, str, str]]
) -> None:
    assert [one for one in told(RETURNED.format(attribute=attribute, body=body)) if one[0] != "info"] == expected


HELD = "opt = torch.optim.SGD(net.parameters(), 0.1)\nz = torch.tensor(net(data).tolist(), requires_grad=True)\n"


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("(z * z).sum().backward()", ("warning", "starved")),
        ("z.sum().backward()", ("warning", "starved")),
        ("(z * z).sum().backward()\nprint(z.grad)", ("info", "partial")),
        ("(z * z).sum().backward()\nnet(data).sum().backward()", ("info", "partial")),
    ],
)
def test_a_leaf_of_numbers_starves_what_an_optimizer_holds(rest: str, expected: tuple[str, str]) -> None:
    assert [(level, effect) for level, kind, effect in told(HELD + rest) if kind == "number"] == [expected]


def test_a_loss_of_what_has_no_gradient_is_told_where_it_is_made_a_leaf() -> None:
    body = (
        "class HitLoss(torch.nn.Module):\n    def forward(self, scores, y):\n"
        "        loss = (scores.argmax(1) != y).float().mean()\n        loss.requires_grad = True\n"
        "        return loss\n"
        "def hit_rate(scores, y):\n    rate = (scores.argmax(1) == y).float().mean()\n"
        "    rate.requires_grad = True\n    return rate\n"
    )
    assert [cut.statement.lineno - HEAD.count("\n") for cut in cuts(body)] == [3]


@pytest.mark.parametrize(
    ("body", "blamed"),
    [
        (
            "fake = net(data).detach()\nx = (fake + data).requires_grad_()\n"
            "torch.autograd.grad(net(x).sum(), x)[0].norm().backward()",
            ["grad"],
        ),
        ("(net(y.detach() * data) * 2).argmax(1).float().sum().backward()", ["argmax"]),
        ("h = net(data)\nfor _ in range(3):\n    h = net(h).detach()\nh.sum().backward()", ["detach"]),
        ("(y.detach() + net(data).argmax()).float().backward()", ["detach"]),
    ],
)
def test_a_detach_behind_a_later_cut_is_not_to_blame(body: str, blamed: list[str]) -> None:
    assert [cut.op for cut in cuts(body) if cut.severity.value == "error"] == blamed


@pytest.mark.parametrize("order", ["@kept\n@torch.no_grad()\n", "@torch.no_grad()\n@kept\n"])
def test_of_several_decorators_the_one_that_turns_gradients_off_is_shown(order: str) -> None:
    body = f"def kept(f):\n    return f\n{order}def f(x):\n    return net(x)\nf(data).sum().backward()\n"
    (cut,) = cuts(body)
    shown = cut.hazards[0].write.span
    assert (HEAD + body)[shown.start : shown.end] == "torch.no_grad()"


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ("@torch.no_grad()\n", True),
        ("@torch.inference_mode(False)\n", False),
        ("@torch.enable_grad()\n@torch.no_grad()\n", True),
        ("@torch.no_grad()\n@torch.enable_grad()\n", False),
        ("@torch.set_grad_enabled(True)\n@torch.no_grad()\n", True),
        ("quiet = lambda f: torch.no_grad()(f)\n@quiet\n", True),
        ("def quiet(f):\n    return torch.no_grad(f)\n@quiet\n", True),
    ],
)
def test_the_innermost_decorator_decides_whether_gradients_are_on(made: str, found: bool) -> None:
    assert bool(cuts(f"{made}def f(x):\n    return net(x)\nf(data).sum().backward()\n")) is found


@pytest.mark.parametrize("switch", ["@torch.enable_grad()", "@torch.enable_grad", "@torch.set_grad_enabled(True)"])
def test_a_function_under_a_decorator_has_gradients_where_its_caller_has_none(switch: str) -> None:
    body = f"{switch}\ndef f(x):\n    return net(x).sum()\nwith torch.no_grad():\n    loss = f(data)\nloss.backward()\n"
    assert not cuts(body)
    assert cuts(body.replace(switch, ""))


TRAINED = """\
scale = nn.Parameter(torch.tensor(0.5))
optimizer = torch.optim.SGD([scale, *net.parameters()], lr=0.1)
"""


@pytest.mark.parametrize("cut", ["scale.exp().item()", "float(scale)", "scale.data.exp()", "torch.tensor([scale])[0]"])
def test_what_is_trained_gets_a_gradient_from_some_loss(cut: str) -> None:
    body = f"(y * {cut}).backward()\n"
    assert [found[::2] for found in told(TRAINED + body)] == [("warning", "starved")]
    assert [found[::2] for found in told(TRAINED.partition("optimizer")[0] + body)] == [("info", "partial")]
    assert [found[::2] for found in told(TRAINED + body + "(scale - 1).pow(2).backward()\n")] == [("info", "partial")]
    assert [found[::2] for found in told(TRAINED + f"(y * scale * {cut}).backward()\n")] == [("info", "partial")]


@pytest.mark.parametrize(
    "cut", ["(data > scale).float().mean()", "scale.exp().round()", "(10 * scale).long()", "scale.sign() * y"]
)
def test_what_is_trained_gets_more_than_a_gradient_of_zero(cut: str) -> None:
    body = f"(y * {cut}).backward()\n"
    assert [(found[0], found[2]) for found in told(TRAINED + body)] == [("warning", "starved")]
    assert told(TRAINED.partition("optimizer")[0] + body) == []
    assert told(TRAINED + body + "(scale - 1).pow(2).backward()\n") == []
    assert told(TRAINED + f"(y * scale * {cut}).backward()\n") == []


@pytest.mark.parametrize("read", ["print(scale.grad)", "for p in [scale]:\n    p.grad.mul_(2)"])
def test_a_gradient_is_waited_for_where_it_is_read_after_backward(read: str) -> None:
    body = TRAINED.partition("optimizer")[0] + f"(y * scale.item()).backward()\n{read}\n"
    assert told(body) == [("warning", "number", "starved")]


def test_a_codebook_that_somebody_detached_waits_for_nothing() -> None:
    body = "nearest = (data[:, :1] - scale).abs().argmin()\n(y * nearest + (scale - y).detach()).backward()\n"
    assert [found for found in told(TRAINED + body) if found[0] == "warning"] == []


def test_what_is_trained_may_come_with_what_a_caller_hands_over() -> None:
    body = "def f(t):\n    (t * scale.item()).sum().backward()\n"
    assert told(TRAINED + body) == [("info", "number", "partial")]


def test_what_returns_a_loss_is_expected_to_have_a_graph() -> None:
    body = """\
    class Terms(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return torch.tensor([v.mean() for v in self.fc(x)])

    def style_loss(a, b):
        return torch.tensor([(a - b).pow(2).mean(), a.abs().sum()]).sum()

    def statistics(a, b):
        return torch.tensor([(a - b).pow(2).mean(), a.abs().sum()])
    """
    assert told(body) == [("warning", "tensor", "returned")] * 2


@pytest.mark.parametrize(
    "made",
    [
        "torch.tensor(terms, requires_grad=True).mean()",
        "torch.tensor(terms).mean().requires_grad_()",
        "torch.tensor(sum(terms).item(), requires_grad=True)",
    ],
)
def test_a_loss_that_is_made_a_leaf_is_returned_without_what_it_was_computed_from(made: str) -> None:
    body = """\
    def loss1(a, b):
        terms = [(a - b).pow(2).mean(), a.abs().sum()]
        return MADE

    def pair(a, b):
        terms = [(a - b).pow(2).mean(), a.abs().sum()]
        return MADE

    def loss2(a, b):
        terms = [(a - b).pow(2).mean(), a.abs().sum()]
        return MADE + a.mean()
    """.replace("MADE", made)
    found = told(body)
    assert ("warning", "returned-leaf") in [fact[::2] for fact in found]
    assert len([fact for fact in found if fact[0] == "warning"]) <= 2
    assert not any(fact[2] == "returned-leaf" for fact in told(body.replace("def loss1", "def mean1")))


@pytest.mark.parametrize(
    "body",
    [
        "print(torch.tensor([y, y]))\ny.backward()",
        "w = nn.Parameter(net.weight)\n(w * 2).sum().backward()",
        "torch.Tensor(y.exp()).backward()",
        "torch.as_tensor(y).backward()",
        "torch.autograd.grad(y, net.weight, create_graph=True)[0].norm().backward()",
        "y.backward(create_graph=True)\nnet.weight.grad.norm().backward()",
        "data.requires_grad = True\ndata.sum().backward()",
        "h = data.detach()\nnet(h).mean().backward()",
        "z = y.detach()\nif z.requires_grad:\n    z.backward()",
        "z = y * 0\nif y.item() > 0:\n    z = z + y\nz.backward()",
        "cut = torch.tensor(y.exp(), requires_grad=True)\n(cut * 2).backward()\ny.backward(cut.grad)",
    ],
)
def test_nothing_loud_about_what_works(body: str) -> None:
    assert [found for found in told(body) if found[0] != "info"] == []


def test_graphs_come_from_places_nobody_expects() -> None:
    text = Path(__file__).with_name("graphs_from_everywhere.txt").read_text(encoding="utf-8")
    found = analyse(Source.from_text("program.py", text)).cuts
    assert [(cut.node.lineno, cut.kind) for cut in found if cut.severity.value != "info"] == []  # type: ignore[attr-defined]


def test_of_several_cuts_the_careless_one_is_blamed() -> None:
    body = "weight = 1 - y.detach()\ntorch.tensor([y * weight, y]).sum().backward()"
    assert told(body) == [("info", "detach", "partial"), ("error", "tensor", "no-graph")]


def test_the_same_cut_in_two_losses_speaks_for_the_worse() -> None:
    (cut,) = cuts("z = torch.tensor([y, y])\n(z * net(data).mean()).sum().backward()\nz.sum().backward()")
    assert (cut.effect.value, cut.elsewhere) == ("no-graph", True)


@pytest.mark.parametrize(
    ("entries", "severity"),
    [
        ("[[c, -s], [s, c]]", "warning"),
        ("((c, 0.0), (0.0, 1.0))", "warning"),
        ("[c, s]", "info"),  # may be weights
        ("[row for row in (c, s)]", "info"),
    ],
)
def test_a_matrix_of_entries_is_computed_with(entries: str, severity: str) -> None:
    body = f"c, s = y.cos(), y.sin()\nturn = torch.tensor({entries})\n(y * turn.sum() + y).backward()\n"
    assert told(body) == [(severity, "tensor", "partial")]


def test_a_matrix_of_what_has_no_graph_cuts_nothing() -> None:
    assert told("c = data.mean()\nturn = torch.tensor([[c, 1.0], [0.0, c]])\n(y * turn.sum()).backward()\n") == []


WRITTEN_PAST = "z = torch.zeros(2)\nz.data[0] = y\n(z * net(data).mean()).sum().backward()"


def test_what_is_written_past_autograd_is_missed_by_the_loss() -> None:
    assert told(WRITTEN_PAST) == [("warning", "data", "partial")]
    assert told(WRITTEN_PAST.replace("(z * net(data).mean())", "z")) == [("error", "data", "no-graph")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.zeros(2)", "nn.Parameter(torch.zeros(2))"),  # an initial value
        ("torch.zeros(2)", "net.weight.detach()[0]"),
        ("z.data[0] = y", "z.data[0] = y.detach()"),
        ("z.data[0] = y", "z.data[0] = data[0, 0]"),
        ("(z * net", "(z.shape[0] * net"),
    ],
)
def test_nothing_loud_about_writes_past_autograd_that_keep_no_graph_away(old: str, new: str) -> None:
    assert old in WRITTEN_PAST
    assert "data" not in [kind for severity, kind, _ in told(WRITTEN_PAST.replace(old, new)) if severity != "info"]


def test_what_no_callback_fills_has_no_graph() -> None:
    body = """
    def explain(model, image):
        scores = [torch.zeros(3)]
        def after(module, inputs, output):
            scores = [output]
        model.register_forward_hook(after)
        model(image)
        torch.cat(scores).sum().backward()
    """
    assert told(body) == [("error", "no-leaf", "no-graph")]


@pytest.mark.parametrize(
    ("name", "is_loss"),
    [("objective", True), ("training_objective", True), ("objective_fn", True), ("short_time_objective_score", False)],
)
def test_an_objective_is_a_loss_where_that_is_the_noun(name: str, is_loss: bool) -> None:
    body = f"""
    def {name}(x: torch.Tensor):
        h = net(x)
        return torch.tensor(np.sqrt(h.detach().numpy()).mean())
    """
    assert bool([cut for cut in told(body) if cut[0] != "info"]) is is_loss


def test_a_decorator_under_another_name_is_shown() -> None:
    body = """
        off = torch.no_grad
        def same(f):
            return f
        @same
        @off()
        def loss(x):
            return net(x).mean()
        loss(data).backward()
    """
    (cut,) = cuts(body)
    assert (
        Source.from_text("program.py", HEAD + textwrap.dedent(body)).text[
            slice(cut.hazards[0].write.span.start, cut.hazards[0].write.span.end)
        ]
        == "off()"
    )


@pytest.mark.parametrize("call", ["torch.full((3,), y)", "torch.full_like(data, y)", "data.new_full((3,), y * 2)"])
def test_what_takes_numbers_alone_raises_at_the_call(call: str) -> None:
    source = Source.from_text("program.py", HEAD + f"loss = {call}.sum()\nloss.backward()\n")
    (finding,) = engine.check_source(source, tuple(registry.load()))
    assert "torch raises a `TypeError` here" in finding.message
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="must be Number, not Tensor"):
        eval(call, {"torch": torch, "data": torch.zeros(3), "y": torch.ones((), requires_grad=True)})
    eval(call, {"torch": torch, "data": torch.zeros(3), "y": torch.ones(())})


TRAINER = """
class Trainer:
    def __init__(self):
        self.loss = torch.zeros(1)

    def backward(self):
        self.loss.backward()
"""


@pytest.mark.parametrize(
    ("caller", "severities"),
    [("", []), ("\ndef run():\n    Trainer().backward()\n", ["error"])],
    ids=["elsewhere", "here"],
)
def test_a_method_whose_callers_are_elsewhere_may_find_other_attributes(caller: str, severities: list[str]) -> None:
    assert [cut.severity.value for cut in cuts(TRAINER + caller)] == severities


@pytest.mark.parametrize(("arguments", "is_tensor"), [("a", True), ("a, b", False)])
def test_who_takes_more_than_a_tensors_method_is_no_tensor(arguments: str, is_tensor: bool) -> None:
    body = f"import torch\n\ndef f(algebra, a, b):\n    q = algebra.matmul({arguments})\n    q.data.sum().backward()\n"
    found = analyse(Source.from_text("program.py", body)).cuts
    assert [cut.kind.value for cut in found] == ["data"] * is_tensor


def test_a_parameter_made_of_what_was_computed_is_a_cut_in_the_layer_that_gets_it() -> None:
    layer = "other = nn.Linear(3, 3)\nother.weight = nn.Parameter({})\nother(data).sum().backward()"
    assert told(layer.format("net(data[:3]).expand(3, 3)")) == [("warning", "parameter", "constant")]
    assert told(layer.format("torch.eye(3)")) == []


STEPS = """\
student, teacher = nn.Linear(3, 1), nn.Linear(3, 1)
opt = torch.optim.SGD({}.parameters(), 0.1)
loss = (student(data).detach() - teacher(data)).square().mean()
opt.zero_grad()
loss.backward()
{}opt.step()
"""


def test_a_detach_is_told_where_an_optimizer_steps_that_gets_nothing_on_another_way() -> None:
    assert told(STEPS.format("student", "")) == [("warning", "detach", "starved")]
    fed = STEPS.format("teacher", ""), STEPS.format("student", "student(data).sum().backward()\n")
    by_hand = STEPS.format("student", "student.weight.grad = torch.ones(1, 3)\n")
    for body in (*fed, by_hand, STEPS.format("student", "measure(student).backward()\n")):
        assert {severity for severity, _, _ in told(body)} <= {"info"}
