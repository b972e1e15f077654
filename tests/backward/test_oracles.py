"""Where the reference gradients come from, and where an obvious source would be wrong."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.findings import HazardKind, Verdict

HOOKS = "clone-packing saved-tensor hooks"
DIFFERENCES = "float64 central differences"
HELD = "float64 central differences with what is cut off held constant"

OFFSET_VIEW = """\
x = torch.randn(3, requires_grad=True)
h = x * 1.5
a = h.cos().sum()
h[1] = 0
(a + h.sum()).backward()
"""
DETACHED_TARGET = """\
x = torch.randn(4, requires_grad=True)
h = x.exp()
target = (h * 2).detach()
h += 1
((h - target) ** 2).sum().backward()
"""
STRAIGHT_THROUGH = """\
x = torch.randn(4, requires_grad=True)
h = x.sigmoid()
q = (h.round() - h).detach() + h
h[0] = 0
(q.sum() + (h * h).sum()).backward()
"""
REVERSAL = """\
class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        return -gradient
x = torch.randn(4, requires_grad=True)
h = Reverse.apply(x).exp()
h[0] = 0
h.sum().backward()
"""
INNER_GRAD = """\
x = torch.randn(4, requires_grad=True)
g, = torch.autograd.grad(x.sin().sum(), x, create_graph=True)
h = g.exp()
h[0] = 0
h.sum().backward()
"""
NARROW_BUFFER = """\
x = torch.randn(4, requires_grad=True)
b = torch.zeros(4, dtype=torch.float32)
h = x.exp()
b[1:] = h[1:]
h[0] = 0
(b.sum() + h.sum()).backward()
"""
CLONE = "h = h.clone(); h[0] = 0"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        pytest.param(OFFSET_VIEW, "h[1] = 0", "h = h.clone(); h[1] = 0", id="view at an offset"),
        pytest.param(DETACHED_TARGET, "h += 1", "h = h + 1", id="detached target"),
        pytest.param(STRAIGHT_THROUGH, "h[0] = 0", CLONE, id="straight-through"),
        pytest.param(REVERSAL, "h[0] = 0", CLONE, id="gradient reversal"),
        pytest.param(INNER_GRAD, "h[0] = 0", CLONE, id="inner autograd.grad"),
        pytest.param(NARROW_BUFFER, "h[0] = 0", CLONE, id="float32 buffer"),
    ],
)
def test_clone_packing_is_right_where_others_are_not(judge: Judge, text: str, old: str, new: str) -> None:
    judgement = judge(text, old, new, predicted=True)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, HOOKS), judgement


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        pytest.param(
            OFFSET_VIEW, "a = h.cos().sum()\nh[1] = 0", "h = h.clone(); h[1] = 0\na = h.cos().sum()", id="view"
        ),
        pytest.param(
            DETACHED_TARGET, "target = (h * 2).detach()\nh += 1", "target = h * 2\nh = h + 1", id="detached target"
        ),
        pytest.param(
            STRAIGHT_THROUGH,
            "q = (h.round() - h).detach() + h\nh[0] = 0",
            f"q = h.round()\n{CLONE}",
            id="straight-through",
        ),
        pytest.param(REVERSAL, "Reverse.apply(x).exp()\nh[0] = 0", f"x.exp()\n{CLONE}", id="gradient reversal"),
        pytest.param(
            INNER_GRAD, "h = g.exp()\nh[0] = 0", f"h = g.detach().exp() + 0 * x\n{CLONE}", id="inner autograd.grad"
        ),
    ],
)
def test_changing_what_stops_a_gradient_is_rejected(judge: Judge, text: str, old: str, new: str) -> None:
    assert judge(text, old, new, predicted=True).verdict is Verdict.REJECTED


SILENT = "x = torch.randn(4, requires_grad=True)\nh = x.exp()\nh.data[0] = 0.5\nh.sum().backward()\n"


def test_a_silent_write_is_decided_by_central_differences(judge: Judge) -> None:
    judgement = judge(SILENT, "h.data[0] = 0.5", "h = h.clone(); h[0] = 0.5", silent=True)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, DIFFERENCES)
    assert judgement.reason.startswith("wrong gradient without an error before")


def test_a_wrong_cure_of_a_silent_write_is_rejected(judge: Judge) -> None:
    wrong = "h = h.clone(); h[0] = 0.5; h = h * 2 - h.detach()"
    judgement = judge(SILENT, "h.data[0] = 0.5", wrong, silent=True)
    assert judgement.verdict is Verdict.REJECTED
    assert "central differences give" in judgement.reason


@pytest.mark.parametrize("extra", ["h = h + 1", "print('more')\nh = h * 1 + 3"])
def test_a_silent_write_excuses_no_other_loss(judge: Judge, extra: str) -> None:
    judgement = judge(SILENT, "h.data[0] = 0.5", f"h = h.clone(); h[0] = 0.5\n{extra}", silent=True)
    assert judgement.verdict is Verdict.REJECTED
    assert judgement.reason.startswith("the loss at line")


def test_a_loss_that_the_original_never_computes_is_compared_without_gradients(judge: Judge) -> None:
    text = "x = torch.randn(4, requires_grad=True)\na, b, c, d = x.sin().unbind(0)\na += 1\n(a * b).backward()\n"
    judgement = judge(text, "a += 1\n(a * b).backward()", "a = a + 1\n(a * b + 1).backward()")
    assert judgement.verdict is Verdict.REJECTED
    assert judgement.reason.startswith("the loss at line 5 is")


def test_a_silent_write_excuses_no_other_output(judge: Judge) -> None:
    judgement = judge(SILENT, "h.data[0] = 0.5", "h = h.clone(); h[0] = 0.5\nprint('more')", silent=True)
    assert judgement.verdict is Verdict.REJECTED
    assert judgement.reason.startswith("printed")


def test_without_that_prediction_the_original_is_the_truth(judge: Judge) -> None:
    judgement = judge(SILENT, "h.data[0] = 0.5", "h = h.clone(); h[0] = 0.5")
    assert judgement.verdict is Verdict.REJECTED


def test_data_that_is_read_is_a_constant(judge: Judge) -> None:
    text = "x = torch.randn(4, requires_grad=True)\nh = x.exp()\nh = h * h.data\nh.sum().backward()\n"
    judgement = judge(text, "h * h.data", "h * h", silent=True)
    assert judgement.verdict is Verdict.REJECTED
    assert "central differences give" in judgement.reason


@pytest.mark.parametrize(
    ("stop", "oracle"),
    [
        pytest.param("y = y + x.detach() * 0", HELD, id="detach"),
        pytest.param("with torch.no_grad():\n    y = y + 0 * x.sum()", HELD, id="no_grad"),
        pytest.param("y = y + torch.zeros(3, dtype=torch.float32)", None, id="float32 written into the code"),
    ],
)
def test_what_stops_gradients_beside_a_disconnected_loss(judge: Judge, stop: str, oracle: str | None) -> None:
    text = f"x = -torch.rand(3, requires_grad=True)\ny = torch.zeros(3)\n{stop}\n" + (
        "if x[0] > 0:\n    y[0] = x[0]\ny.sum().backward()\n"
    )
    new = "y = y.index_put((torch.tensor(0),), torch.where(x[0] > 0, x[0], y[0]))"
    judgement = judge(text.replace("-torch.rand(3, ", "torch.full((3,), -1.0, "), "if x[0] > 0:\n    y[0] = x[0]", new)
    told = "" if judgement.oracle is None else judgement.oracle
    assert oracle in told if oracle else DIFFERENCES not in told, judgement


CHECKPOINT = """\
from torch.utils.checkpoint import checkpoint
x = torch.randn(4, requires_grad=True)
def f(x):
    a = x.exp()
    a.mul_(2)
    return a.sin()
checkpoint(f, x, use_reentrant=False).sum().backward()
"""


def test_checkpoint_around_a_write_is_silently_wrong(judge: Judge) -> None:
    judgement = judge(CHECKPOINT, "a.mul_(2)", "a = a.mul(2)", silent=True)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, DIFFERENCES)


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("a = a.mul(2)", Verdict.FIXED),
        ("a = a.clone().mul_(2)", Verdict.FIXED),
        ("a = a.mul(2.001)", Verdict.REJECTED),
        ("a = a.detach().mul(2) + a - a.detach()", Verdict.REJECTED),
        ("a.mul_(2); a = a + 0", Verdict.EQUIVALENT),
    ],
)
def test_what_checkpoint_hides_is_held_against_a_run_without_it(judge: Judge, new: str, verdict: Verdict) -> None:
    judgement = judge(CHECKPOINT, "a.mul_(2)", new, kinds=frozenset({HazardKind.SAVED_THEN_WRITTEN}))
    assert judgement.verdict is verdict, judgement
    if verdict is Verdict.FIXED:
        assert judgement.oracle == HOOKS
        assert "it agrees with a run without checkpoints" in judgement.reason


def test_without_a_checkpoint_a_changed_gradient_is_a_mistake(judge: Judge) -> None:
    text = CHECKPOINT.replace("checkpoint(f, x, use_reentrant=False)", "f(x)").replace("a.mul_(2)", "a = a.mul(2)")
    kinds = frozenset({HazardKind.SAVED_THEN_WRITTEN})
    assert judge(text, "a.mul(2)", "a.detach().mul(2) + a - a.detach()", kinds=kinds).verdict is Verdict.REJECTED


REENTRANT = """\
from torch.utils.checkpoint import checkpoint
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    def block(self, x):
        h = self.a(x).sigmoid()
        h += x
        return self.b(h)
    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=True)
"""


@pytest.mark.parametrize("before", ["h = self.a(x).sigmoid()", "h = self.a(x)"])  # it fails, or works
def test_parameters_that_only_a_reentrant_checkpoint_reaches_count(judge: Judge, before: str) -> None:
    text, case = REENTRANT.replace("h = self.a(x).sigmoid()", before), DeclaredCall("Net()(randn(2, 3))")
    assert judge(text, "h += x", "h = h + x", case).verdict in (Verdict.FIXED, Verdict.EQUIVALENT)
    half = "h = h + x\n        g = h.detach()\n        return self.b(h) / 2 + self.b(g).detach() / 2"
    judgement = judge(text, "h += x\n        return self.b(h)", half, case)
    assert judgement.verdict is Verdict.REJECTED, judgement


def test_checkpoint_is_bypassed_under_hooks(judge: Judge) -> None:
    text = CHECKPOINT.replace("a.mul_(2)", "a = a.mul(2)").replace(
        "checkpoint(f, x, use_reentrant=False).sum().backward()",
        "h = checkpoint(f, x, use_reentrant=False).exp()\nh[0] = 0\nh.sum().backward()",
    )
    judgement = judge(text, "h[0] = 0", CLONE)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, HOOKS)


def test_a_checkpoint_that_is_bypassed_is_no_change_of_state(judge: Judge) -> None:
    text = CHECKPOINT.replace("checkpoint(f, x", "ways = {}\ndef g(x): return (checkpoint if ways else f)(x)\n(f(x")
    text = text.replace(", use_reentrant=False)", ") + g(x))")
    judgement = judge(text, "a.mul_(2)", "a = a.mul(2)")
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, HOOKS), judgement


@pytest.mark.parametrize(
    ("leaf", "write", "cured"),
    [
        ("torch.randn(3, requires_grad=True)", "x[0] = 1", "x = x.clone(); x[0] = 1"),
        ("torch.tensor([1.0, 2.0, 3.0], requires_grad=True)", "x *= 2", "x = x * 2"),
        ("torch.randn(3).requires_grad_()", "x.add_(1)", "x = x.add(1)"),
        ("torch.ones(3, requires_grad=True)", "x.view(-1)[0] = 5", "x = x.clone(); x.view(-1)[0] = 5"),
    ],
)
def test_a_written_leaf_is_fed_as_its_product_with_one(judge: Judge, leaf: str, write: str, cured: str) -> None:
    judgement = judge(f"x = {leaf}\n{write}\n(x * x).sum().backward()\n", write, cured)
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judgement.oracle == "the original with leaves fed as `leaf * 1`"


def test_a_program_that_uses_the_gradient_of_a_written_leaf(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\nx *= 2\n(x * x).sum().backward()\nprint(x.grad.norm())\n"
    kept = ("x *= 2\n(x * x)", "y = x * 2\n(y * y)")
    assert judge(text, *kept).verdict is Verdict.FIXED
    broken = "y = x * 2\n(y * y).sum().backward()\nprint(x.grad.size(5)"
    assert judge(text, text[text.index("x *=") :].removesuffix(")\n"), broken).verdict is Verdict.REJECTED


WRITTEN_PARAMETER = """\
class Padded(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(4, 3))
        self.head = torch.nn.Linear(3, 4, bias=False)
        self.head.weight = self.table
        self.scale = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    def forward(self, x):
        self.table[0] = 0
        self.table *= self.table.abs()
        return self.head(x * self.scale)
"""
OWN_TABLE = "table = self.table.clone(); table[0] = 0\n        table = table * table.abs()\n        return "


@pytest.mark.parametrize(
    ("returned", "verdict"),
    [
        ("torch.nn.functional.linear(x * self.scale, table)", Verdict.FIXED),
        ("torch.nn.functional.linear(x * self.scale, table.detach() + 0 * self.table)", Verdict.REJECTED),
        ("self.head(x * self.scale)", Verdict.REJECTED),  # it shares the parameter, and no longer sees the writes
    ],
)
def test_a_module_with_a_written_parameter_holds_its_product_with_one(
    judge: Judge, returned: str, verdict: Verdict
) -> None:
    case = DeclaredCall("Padded()(randn(2, 3))")
    old = "self.table[0] = 0\n        self.table *= self.table.abs()\n        return self.head(x * self.scale)"
    judgement = judge(WRITTEN_PARAMETER, old, OWN_TABLE + returned, case)
    assert judgement.verdict is verdict, judgement
    assert verdict is Verdict.REJECTED or judgement.oracle == "the original with leaves fed as `leaf * 1`"


def test_parameters_are_reached_by_differences_from_their_module_on(judge: Judge) -> None:
    text = """\
torch.manual_seed(3)
linear = torch.nn.Linear(3, 3)
x = torch.randn(3)
h = linear(x)
y = torch.zeros(3)
if x[0] > 0:
    y[0] = h[0]
y.sum().backward()
"""
    branch = "if x[0] > 0:\n    y[0] = h[0]"
    right = judge(text, branch, "y = torch.where((torch.arange(3) == 0) & (x[0] > 0), h, y)")
    assert (right.verdict, right.oracle) == (Verdict.FIXED, f"the original's own autograd, {DIFFERENCES}")
    wrong = judge(text, branch, "y = torch.where((torch.arange(3) == 0) & (x[0] > 0), h, y) + (h - h.detach()) * 0.1")
    assert wrong.verdict is Verdict.REJECTED


TWICE = "def f(x):\n    h = x.exp()\n    h.sum().backward()\n    (h * 2).sum().backward()\n"
GRAD_TWICE = """\
x = torch.randn(3, requires_grad=True)
h = x.exp()
g, = torch.autograd.grad(h.sum(), x)
(h * 2).sum().backward()
"""
EXPANDED = "def f(x):\n    y = x[:1].expand(3)\n    z = torch.zeros(1).expand(3)\n    z += x\n    return z * y\n"
OF_THREE = DeclaredCall("f(randn(3))")
GRAPHS, COPIES = "the original with its graphs kept", "the original with expanded tensors copied"


@pytest.mark.parametrize(
    ("text", "case", "old", "new", "oracle"),
    [
        (TWICE, OF_THREE, "h.sum().backward()", "h.sum().backward(retain_graph=True)", GRAPHS),
        (TWICE, OF_THREE, "h.sum().backward()", "h.sum().backward(); h = x.exp()", GRAPHS),
        (TWICE, OF_THREE, "h.sum().backward()", "h.sum().backward(); h = x.detach().exp() + 0 * x", None),
        (TWICE, OF_THREE, "(h * 2).sum().backward()", "pass", None),
        (GRAD_TWICE, None, "(h.sum(), x)", "(h.sum(), x, retain_graph=True)", GRAPHS),
        (GRAD_TWICE, None, "(h.sum(), x)", "(h.sum(), x, None, True)", GRAPHS),
        (EXPANDED, OF_THREE, "zeros(1).expand(3)", "zeros(1).expand(3).clone()", COPIES),
        (EXPANDED, OF_THREE, "z += x", "z = (z + x).to(z.dtype)", COPIES),
        (EXPANDED, OF_THREE, "z += x", "z = z + x.detach() + 0 * x", None),
        (EXPANDED, OF_THREE, "zeros(1).expand(3)", "ones(1).expand(3).clone()", None),
    ],
)
def test_a_freed_graph_is_kept_and_an_expanded_tensor_copied(
    judge: Judge, text: str, case: DeclaredCall | None, old: str, new: str, oracle: str | None
) -> None:
    judgement = judge(text, old, new, case)
    expected = Verdict.REJECTED if oracle is None else Verdict.FIXED
    assert (judgement.verdict, judgement.oracle) == (expected, oracle), judgement


def test_errors_without_any_oracle_are_unchecked(judge: Judge) -> None:
    text = "x = torch.randn(4, requires_grad=True)\ny = x * 1\ny[1:] = y[:-1]\ny.sum().backward()\n"
    judgement = judge(text, "y[1:] = y[:-1]", "v = y[:-1].clone(); y = y.clone(); y[1:] = v")
    assert judgement.verdict is Verdict.UNCHECKED
    assert judgement.reason == "no oracle for 'memory overlap in a write'"


def test_several_errors_of_one_program_are_cured_together(judge: Judge) -> None:
    text = "x = torch.randn(4, requires_grad=True)\nx[0] = 1\nh = x.exp()\nh[1] = 0\nh.backward()\n"
    judgement = judge(
        text,
        "x[0] = 1\nh = x.exp()\nh[1] = 0\nh.backward()",
        "x = x.clone(); x[0] = 1\nh = x.exp()\nh = h.clone(); h[1] = 0\nh.sum().backward()",
    )
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judgement.oracle == (
        "the original with leaves fed as `leaf * 1` + the original's autograd with a cotangent of ones"
    )


def test_what_other_threads_compute_is_cured_as_well(judge: Judge) -> None:
    text = """\
from concurrent.futures import ThreadPoolExecutor
net = torch.nn.Linear(3, 3)
def work(x):
    h = net(x).sigmoid()
    h += 1
    return (h * h).sum()
with ThreadPoolExecutor(2) as pool:
    losses = list(pool.map(work, torch.randn(4, 3)))
sum(losses).backward()
"""
    judgement = judge(text, "h += 1", "h = h + 1")
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, HOOKS), judgement
    assert judge(text, "h += 1", "h = h + 1; h = h.detach() / 2 + h / 2").verdict is Verdict.REJECTED


def test_arguments_are_compared_with_the_oracle_run(judge: Judge) -> None:
    text = "def f(x, b):\n    h = x.exp()\n    b[0] = 7\n    h[0] = 1\n    return h * b\n"
    case = DeclaredCall("f(randn(3), randn(3))")
    old, kept, lost = (
        "b[0] = 7\n    h[0] = 1",
        "b[0] = 7\n    h = h.clone(); h[0] = 1",
        "b = b.clone(); b[0] = 7\n    h = h.clone(); h[0] = 1",
    )
    assert judge(text, old, kept, case).verdict is Verdict.FIXED
    judgement = judge(text, old, lost, case)
    assert judgement.verdict is Verdict.REJECTED
    assert judgement.reason.startswith("argument 2 after the call is 7 before")


def test_a_program_that_transforms_functions_elsewhere(judge: Judge) -> None:
    text = (
        "w = torch.randn(3, requires_grad=True)\nslope = torch.func.grad(lambda x: (x * x).sum())(torch.ones(3))\n"
        "h = (w * slope).sigmoid()\nh += 1\nh.sum().backward()\n"
    )
    judgement = judge(text, "h += 1", "h = h + 1")
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judge(text, "h += 1", "h = h + h").verdict is Verdict.REJECTED
