"""Right and planted wrong rewrites, each with the verdict it must get."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Judge, judged_by
from lending import Lender

from gradfix.backward.cases import DeclaredCall
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.findings import Verdict

SEED_1 = """\
x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = torch.tensor([4.0, 5.0, 6.0])
z = x + y
z.backward()
print(x.grad)
"""
SEED_2 = """\
x = torch.randn(3, requires_grad=True)
y = x + 2
y[0] = 10
z = y.sum()
z.backward()
print(x.grad)
"""
SEED_2B = SEED_2.replace("x + 2", "x.exp()")
LEAF = """\
x = torch.randn(3, requires_grad=True)
x[0] = 10
(x * x).sum().backward()
"""
SEED_3 = """\
x = torch.randn(3, requires_grad=True)
y = torch.zeros(3)
if x[0] > 0:
    y[0] = x[0]
z = y.sum()
z.backward()
print(x.grad)
"""
BRANCH = "if x[0] > 0:\n    y[0] = x[0]\n"
ROOT = """\
x = torch.randn(3, requires_grad=True)
y = torch.zeros(3)
if x[0] > 0:
    y[0] = x[0].sqrt()
(y.sum() + x.sum()).backward()
"""
ROOT_BRANCH = "if x[0] > 0:\n    y[0] = x[0].sqrt()\n"
MODULE = """\
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(4, 4)
        self.b = torch.nn.Linear(4, 4)
    def forward(self, x):
        h = torch.sigmoid(self.a(x))
        h += x
        return self.b(h)
"""
TRAINING = (
    MODULE
    + """\
torch.manual_seed(0)
net = Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
x, target = torch.randn(8, 4), torch.randn(8, 4)
for step in range(20):
    optimizer.zero_grad()
    loss = ((net(x) - target) ** 2).mean()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
"""
)
CAST = """\
x = torch.randn(4, requires_grad=True)
h = x.exp()
h += torch.ones(4, dtype=torch.float64)
h.sum().backward()
"""
CAST_WRITE = "h += torch.ones(4, dtype=torch.float64)"
DUPLICATES = """\
x = torch.randn(4, requires_grad=True)
i = torch.tensor([0, 0, 1])
h = x.exp()
h[i] = x[:3]
h.sum().backward()
"""
RANDOM = """\
x = torch.randn(4, requires_grad=True)
h = x.exp()
h[0] = torch.rand(())
(h.sum() * torch.rand(())).backward()
"""
VIEW = """\
x = torch.randn(4, requires_grad=True)
h = x.sin()
r = h[1:]
r += 1
(h.sum() + (h * h).sum()).backward()
"""
MULTI_VIEW = """\
x = torch.randn(4, requires_grad=True)
a, b, c, d = x.sin().unbind(0)
a += 1
(a * b).backward()
"""
SHIFT = """\
x = torch.randn(6, requires_grad=True)
u = torch.zeros(6)
for t in range(1, 6):
    u[t] = u[t - 1].sin() + x[t] * x[t - 1]
(u * u).sum().backward()
"""
SHIFT_WRITE = "    u[t] = u[t - 1].sin() + x[t] * x[t - 1]"
PARENTHESES = """\
x = torch.randn(4, requires_grad=True)
h = x.exp()
h *= x + 1
h.sum().backward()
"""
GRAD_CALL = """\
x = torch.randn(4, requires_grad=True)
h = x.exp()
h[0] = 0
g, = torch.autograd.grad(h.sum(), x)
print(g)
"""
GRAD_CALL_ONCE = """\
x = torch.randn(4, requires_grad=True)
h = x.exp()
h[0] = 0
g, = torch.autograd.grad(iter([h.sum()]), iter([x]))
print(g)
"""
SWALLOWED = """\
x = torch.randn(4, requires_grad=True)
for i in range(3):
    h = x.exp()
    h[0] = 0
    try:
        h.sum().backward()
    except RuntimeError:
        print("ok")
"""
LOOP = """\
x = torch.randn(4, requires_grad=True)
for i in range(3):
    h = x.exp()
    h[0] = 0
    h.sum().backward()
"""
WHERE = "y = y.index_put((torch.tensor(0),), torch.where(x[0] > 0, x[0], y[0]))\n"

RIGHT = [
    pytest.param(SEED_1, "z.backward()", "z.sum().backward()", id="seed 1 sum"),
    pytest.param(SEED_1, "z.backward()", "z.backward(torch.ones_like(z))", id="seed 1 ones"),
    pytest.param(SEED_2B, "y[0] = 10", "y = y.clone(); y[0] = 10", id="seed 2 exp"),
    pytest.param(LEAF, "x[0] = 10", "x = x.index_put((torch.tensor(0),), x.new_tensor(10.0))", id="leaf"),
    pytest.param(SEED_3, BRANCH, WHERE, id="seed 3"),
    pytest.param(TRAINING, "h += x", "h = h + x", id="training"),
    pytest.param(CAST, CAST_WRITE, "h = (h + torch.ones(4, dtype=torch.float64)).to(h.dtype)", id="cast kept"),
    pytest.param(DUPLICATES, "h[i] = x[:3]", "h = h.index_put((i,), x[:3])", id="duplicates"),
    pytest.param(RANDOM, "h[0] = torch.rand(())", "h = h.clone(); h[0] = torch.rand(())", id="random numbers"),
    pytest.param(MULTI_VIEW, "a += 1", "a = a + 1", id="unbind"),
    pytest.param(PARENTHESES, "h *= x + 1", "h = h * (x + 1)", id="parentheses"),
    pytest.param(GRAD_CALL, "h[0] = 0", "h = h.clone(); h[0] = 0", id="autograd.grad"),
    pytest.param(GRAD_CALL_ONCE, "h[0] = 0", "h = h.clone(); h[0] = 0", id="autograd.grad of iterators"),
    pytest.param(SWALLOWED, "h[0] = 0", "h = h.clone(); h[0] = 0", id="caught by the program"),
    pytest.param(
        SHIFT,
        SHIFT_WRITE,
        "    v = u[t - 1].sin() + x[t] * x[t - 1]; u = u.clone(); u[t] = v",
        id="recurrence",
    ),
]
WRONG = [
    pytest.param(SHIFT, SHIFT_WRITE, SHIFT_WRITE.replace("u[t] = ", "u = u.clone(); u[t] = "), id="missing hoist"),
    pytest.param(SEED_1, "z.backward()", "z.mean().backward()", id="mean for sum"),
    pytest.param(SEED_1, "z.backward()", "z.sum().detach().backward()", id="detached loss"),
    pytest.param(SEED_2, "y[0] = 10", "y = y.clone(); y[1] = 10", id="off by one"),
    pytest.param(SEED_2, "y[0] = 10", "y = y.detach().clone(); y[0] = 10", id="detach"),
    pytest.param(SEED_2, "y[0] = 10", "pass", id="write dropped"),
    pytest.param(SEED_2B, "y[0] = 10", "y.clone()[0] = 10", id="clone of nobody"),
    pytest.param(SEED_2B, "y[0] = 10", "y = y.clone(); y[0] = 10.001", id="another constant"),
    pytest.param(LEAF, "x[0] = 10", "x.data[0] = 10", id="data write, other gradient"),
    pytest.param(LEAF, "x[0] = 10", "x = [x].clone()", id="raises where the original did, for another reason"),
    pytest.param(LEAF, "x[0] = 10", "x = x.detach().clone().requires_grad_(); x.data[0] = 10", id="new leaf"),
    pytest.param(SEED_3, BRANCH, WHERE.replace(">", "<"), id="wrong branch"),
    pytest.param(SEED_3, BRANCH, "y = y.index_put((torch.tensor(0),), x[0])\n", id="condition dropped"),
    pytest.param(SEED_3, BRANCH, "y = torch.where(x > 0, x, y)\n", id="all elements"),
    pytest.param(SEED_3, BRANCH, WHERE.replace("x[0], y[0]", "y[0], x[0]"), id="where arguments swapped"),
    pytest.param(SEED_3, BRANCH, WHERE.replace(", x[0],", ", x[0] * 1.01,"), id="scaled"),
    pytest.param(
        ROOT,
        ROOT_BRANCH,
        "y = y.index_put((torch.tensor(0),), torch.where(x[0] > 0, x[0].sqrt(), y[0]))\n",
        id="NaN from the dead branch",
    ),
    pytest.param(TRAINING, "h += x", "h = h - x", id="sign"),
    pytest.param(TRAINING, "h += x", "h = h.detach() + x", id="detach in a module"),
    pytest.param(TRAINING, "h += x", "h.data += x", id="silenced"),
    pytest.param(CAST, CAST_WRITE, "h = h + torch.ones(4, dtype=torch.float64)", id="cast lost"),
    pytest.param(DUPLICATES, "h[i] = x[:3]", "h = h.index_put((i,), x[:3], accumulate=True)", id="accumulate"),
    pytest.param(
        RANDOM,
        "h[0] = torch.rand(())",
        "v = torch.rand(()); torch.rand(1); h = h.clone(); h[0] = v",
        id="extra random number",
    ),
    pytest.param(VIEW, "r += 1", "r = r + 1", id="base doesn't see the write"),
    pytest.param(MULTI_VIEW, "a += 1", "a = a - 1", id="sign under unbind"),
    pytest.param(PARENTHESES, "h *= x + 1", "h = h * x + 1", id="parentheses lost"),
    pytest.param(GRAD_CALL, "h[0] = 0", "h = h.detach() + 0 * x; h[0] = 0", id="detach before autograd.grad"),
    pytest.param(SWALLOWED, "h[0] = 0", "h = h; h[0] = 0", id="no cure, error caught by the program"),
    pytest.param(SEED_2B, "z.backward()", "pass", id="backward skipped"),
    pytest.param(LOOP, "h[0] = 0", "h = h.clone(); h[0] = 0\n    if i: break", id="loop ended early"),
    pytest.param(SEED_2B, "y[0] = 10", "print('ok'); raise SystemExit", id="program left"),
    pytest.param(SEED_2B, "y[0] = 10", "y = y.clone(); y[0] = 10; print('hello')", id="other output"),
    pytest.param(SEED_2B, "y[0] = 10", "y = y.clone(; y[0] = 10", id="syntax error"),
    pytest.param(SEED_2B, "y[0] = 10", "y = missing.clone(); y[0] = 10", id="NameError"),
    pytest.param(SEED_2B, "y[0] = 10", "import os; os._exit(0)", id="interpreter left"),
]


@pytest.mark.parametrize(("text", "old", "new"), RIGHT)
def test_a_right_rewrite_is_fixed(judge: Judge, text: str, old: str, new: str) -> None:
    judgement = judge(text, old, new)
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judgement.error_before
    assert judgement.oracle


@pytest.mark.parametrize(("text", "old", "new"), WRONG)
def test_a_wrong_rewrite_is_rejected(judge: Judge, text: str, old: str, new: str) -> None:
    judgement = judge(text, old, new)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert judgement.reason


def test_what_worked_before_is_equivalent(judge: Judge) -> None:
    judgement = judge(SEED_2, "y[0] = 10", "y = y.clone(); y[0] = 10")
    assert judgement.verdict is Verdict.EQUIVALENT
    assert judgement.max_difference == 0.0
    assert judgement.runs == 9


def test_safe_masking_is_equivalent_on_both_sides_of_its_branch(judge: Judge) -> None:
    safe = "s = torch.where(x[0] > 0, x[0], 1.0)\n" + (
        "y = y.index_put((torch.tensor(0),), torch.where(x[0] > 0, s.sqrt(), y[0]))\n"
    )
    judgement = judge(ROOT, ROOT_BRANCH, safe)
    assert judgement.verdict is Verdict.EQUIVALENT
    assert "branch taken and not taken" in judgement.reason


def test_seed_3_says_both_sides_were_taken(judge: Judge) -> None:
    judgement = judge(SEED_3, BRANCH, WHERE)
    assert 'raised "does not require grad" before' in judgement.reason
    assert "branch taken and not taken" in judgement.reason
    assert judgement.oracle == "the original's own autograd, float64 central differences"


def test_a_predicted_error_that_never_shows_is_not_reproduced(judge: Judge) -> None:
    judgement = judge(SEED_2, "y[0] = 10", "y = y.clone(); y[0] = 10", predicted=True)
    assert judgement.verdict is Verdict.NOT_REPRODUCED


def test_lines_that_no_run_reaches_are_not_exercised(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\nif len(x) > 5:\n    x = x + 1\n(x * x).sum().backward()\n"
    assert judge(text, "x = x + 1", "x = x + 2").verdict is Verdict.NOT_EXERCISED


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("import nosuchmodule", "the original raises ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("open('nosuchfile')", "the original raises FileNotFoundError: [Errno 2] No such file"),
        ("raise SystemExit", "no backward ran"),
    ],
)
def test_programs_that_end_for_other_reasons_are_unchecked(judge: Judge, first: str, reason: str) -> None:
    judgement = judge(f"{first}\n{SEED_2}", "y[0] = 10", "y = y.clone(); y[0] = 10")
    assert judgement.verdict is Verdict.UNCHECKED
    assert judgement.reason.startswith(reason)


def test_a_program_that_differs_from_itself_is_unchecked(judge: Judge) -> None:
    text = "import time\n" + SEED_2.replace("x + 2", "x * (time.perf_counter_ns() % 1000)")
    judgement = judge(text, "y[0] = 10", "y = y.clone(); y[0] = 10")
    assert judgement.verdict is Verdict.UNCHECKED
    assert judgement.reason.startswith("two runs of the original differ")


def test_more_work_than_the_original_did_is_no_fault(lender: Lender, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = f"import time\n{LOOP}    time.sleep(1)\n"
    with lender.checker(tmp_path, Limits(seconds=1.5, case=0.0)) as checker:
        judgement = judged_by(checker, tmp_path)(text, "h[0] = 0", "h = h.clone(); h[0] = 0")
    assert judgement.verdict is Verdict.FIXED, judgement


def test_printed_times_are_no_difference(judge: Judge) -> None:
    text = "import time\nprint(time.perf_counter_ns())\n" + SEED_2B
    assert judge(text, "y[0] = 10", "y = y.clone(); y[0] = 10").verdict is Verdict.FIXED


def test_other_inputs_may_raise_in_both(judge: Judge) -> None:
    text = """\
w = torch.randn(3, requires_grad=True)
x = torch.rand(3)
y = torch.zeros(3)
h = w.exp()
h[0] = 1
if x[0] > 0:
    y = y + h * h
y.sum().backward()
"""
    judgement = judge(text, "h[0] = 1", "h = h.clone(); h[0] = 1")
    assert judgement.verdict is Verdict.FIXED
    assert 'with other inputs both raise "does not require grad"' in judgement.notes


def test_a_small_mistake_in_a_large_sum_shows_in_float64(judge: Judge) -> None:
    text = "x = torch.randn(500_000, requires_grad=True)\nh = x * 2\nh[0] = 0\n(h * h).sum().backward()\n"
    judgement = judge(text, "h[0] = 0", "h = h.clone(); h[0] = 0.1")
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert judgement.reason.startswith("the loss at line 5 is")


def test_another_order_of_summation_is_equivalent(judge: Judge) -> None:
    text = "x = torch.randn(1000, requires_grad=True)\ntotal = 0\nfor i in range(1000):\n"
    text += "    total = total + x[i]\ntotal.backward()\n"
    judgement = judge(text, "total = total + x[i]\ntotal.b", "pass\ntotal = x.sum()\ntotal.b")
    assert judgement.verdict is Verdict.EQUIVALENT, judgement
    assert "loss equal to" in judgement.reason


def test_a_branch_that_the_rewrite_makes_must_go_both_ways(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\nh = x.exp()\nh[0] = 0\nh.sum().backward()\n"
    once = judge(text, "h[0] = 0", "if h.sum() > 0:\n    h = h.clone()\n    h[0] = 0")
    assert (once.verdict, once.reason.count("in line 4")) == (Verdict.UNCHECKED, 1), once
    both = judge(text, "h[0] = 0", "if x[0] > 0:\n    h = h.clone()\nelse:\n    h = h.clone()\nh[0] = 0")
    assert both.verdict is Verdict.FIXED, both


def test_a_loss_of_one_element_keeps_its_shape(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\nh = x.exp()\nh[0] = 0\nloss = h.sum()\nloss.backward()\n"
    judgement = judge(text, "h[0] = 0\nloss = h.sum()", "h = h.clone(); h[0] = 0\nloss = h.sum(0, keepdim=True)")
    assert judgement.verdict is Verdict.REJECTED


def test_a_loss_that_the_rewrite_disconnects_is_not_the_originals(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\ny = torch.zeros(3)\ntorch.exp(x, out=y)\ny.sum().backward()\n"
    judgement = judge(text, "torch.exp(x, out=y)", "y = torch.exp(x).detach()")
    assert judgement.verdict in (Verdict.REJECTED, Verdict.UNCHECKED), judgement
    assert judge(text, "torch.exp(x, out=y)", "y = torch.exp(x)").verdict is Verdict.FIXED


def test_large_tensors_are_told_apart_by_one_element(judge: Judge) -> None:
    text = """\
w = torch.randn(300, 300, requires_grad=True)
h = (w * 0.1).exp()
h[0] = 0
(h * h).sum().backward()
"""
    assert judge(text, "h[0] = 0", "h = h.clone(); h[0] = 0").verdict is Verdict.FIXED
    wrong = "h = h.clone(); h[0] = 0; h.register_hook(lambda g: [g := g.clone(), g.view(-1)[77_777].mul_(1.5)][0])"
    judgement = judge(text, "h[0] = 0", wrong)
    assert judgement.verdict is Verdict.REJECTED
    assert judgement.reason.startswith("the gradient of `w` at line 5 differs: norm")


def test_a_file_of_a_package_is_imported_as_part_of_it(checker: Checker, tmp_path: Path) -> None:
    package = tmp_path / "package" / "inner"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("VALUE = 3.0\n")
    (package / "ops.py").write_text("raise ImportError('the file on disk')\n")
    (tmp_path / "package" / "__init__.py").write_text("")
    imports = "from .constants import VALUE\nfrom .. import inner\n"
    before = imports + "def f(x):\n    y = x.exp()\n    y[0] = VALUE\n    return y\n"
    after = before.replace("y[0] = VALUE", "y = y.clone(); y[0] = VALUE")
    judgement = checker.judge(
        package / "ops.py", before, after, DeclaredCall("f(randn(3))"), frozenset({5}), frozenset({5})
    )
    assert judgement.verdict is Verdict.FIXED, judgement


FUNCTION = "def f(x):\n    y = x.exp()\n    y[0] = 1\n    return y\n"


@pytest.mark.parametrize(
    ("text", "old", "new", "call"),
    [
        pytest.param(FUNCTION, "y[0] = 1", "y = y.clone(); y[0] = 1", "f(x=randn(4, 3))", id="function"),
        pytest.param(FUNCTION, "y[0] = 1", "y = y.clone(); y[0] = 1", "f(torch.rand(4).double())", id="torch's names"),
        pytest.param(MODULE, "h += x", "h = h + x", "Net()(randn(2, 4))", id="module"),
        pytest.param(MODULE, "h += x", "h = h + x", "Net().forward(x=randn(2, 4))", id="method"),
        pytest.param(
            "def f(x):\n    y = torch.zeros(3)\n    if x[0] > 0:\n        y[0] = x[0]\n    return y\n",
            "if x[0] > 0:\n        y[0] = x[0]",
            "y = torch.where((torch.arange(3) == 0) & (x[0] > 0), x, y)",
            "f(randn(3))",
            id="branch",
        ),
        pytest.param(
            "def f(xs, n):\n    h = xs['a'].exp()\n    h[n] = xs['b'][0]\n    return h, {'mean': h.mean()}, n\n",
            "h[n] = xs['b'][0]",
            "h = h.clone(); h[n] = xs['b'][0]",
            "f({'a': randn(4), 'b': [randn(())]}, 2)",
            id="nested arguments and results",
        ),
        pytest.param(
            "def step(w, x):\n    h = (w * x).exp()\n    h[0] = 0\n    h.sum().backward()\n",
            "h[0] = 0",
            "h = h.clone(); h[0] = 0",
            "step(randn(3, requires_grad=True), randn(3))",
            id="backward inside",
        ),
    ],
)
def test_declared_calls_that_are_fixed(judge: Judge, text: str, old: str, new: str, call: str) -> None:
    judgement = judge(text, old, new, DeclaredCall(call))
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judgement.ran == call


@pytest.mark.parametrize(
    ("text", "old", "new", "call", "reason"),
    [
        pytest.param(
            FUNCTION, "y[0] = 1", "y = y.clone(); y[1] = 1", "f(randn(4))", "the loss at the call", id="value"
        ),
        pytest.param(MODULE, "h += x", "h = h + x * 2", "Net()(randn(2, 4))", "the loss at the call", id="module"),
        pytest.param(
            "def f(x):\n    y = x.exp()\n    n = 3\n    y[0] = 1\n    return y, n\n",
            "n = 3\n    y[0] = 1",
            "n = 4\n    y = y.clone(); y[0] = 1",
            "f(randn(4))",
            "the result[1] is 3 before, 4 after",
            id="a number beside the tensor",
        ),
        pytest.param(
            "def f(x):\n    y = x.exp()\n    y[0] = 1\n    return y, y.argmax()\n",
            "y[0] = 1",
            "i = y.argmin(); y = y.clone(); y[0] = 1; y.argmax = lambda: i",
            "f(randn(4))",
            "tensor 2 of the result",
            id="an index beside the tensor",
        ),
        pytest.param(
            "def f(x):\n    x[0] = 1\n    return x.exp()\n",
            "x[0] = 1",
            "x = x.clone(); x[0] = 1",
            "f(randn(4))",
            "argument 1 after the call is 1 before",
            id="the caller's tensor",
        ),
    ],
)
def test_declared_calls_that_are_rejected(judge: Judge, text: str, old: str, new: str, call: str, reason: str) -> None:
    judgement = judge(text, old, new, DeclaredCall(call))
    assert judgement.verdict is Verdict.REJECTED
    assert judgement.reason.startswith(reason)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("f(x=randn(4, 3", "the original raises CallError: `f(x=randn(4, 3` can't be read"),
        ("f", "the original raises CallError: `f` isn't a call"),
        ("g(randn(3))", "the original raises NameError: name 'g' is not defined"),
        ("f(randn(0).sum().item())", "the original raises AttributeError"),
        ("len('abc')", "the call returns nothing differentiable"),
    ],
)
def test_calls_that_make_no_sense_are_unchecked(judge: Judge, call: str, reason: str) -> None:
    judgement = judge(FUNCTION, "y[0] = 1", "y = y.clone(); y[0] = 1", DeclaredCall(call))
    assert judgement.verdict is Verdict.UNCHECKED
    assert judgement.reason.startswith(reason)


@pytest.mark.parametrize(("factor", "verdict"), [("2", Verdict.FIXED), ("1.99999", Verdict.REJECTED)])
def test_a_gradient_equal_up_to_rounding_must_be_closer_in_float64(judge: Judge, factor: str, verdict: Verdict) -> None:
    text = (
        "def f(x, w):\n    h = x.exp()\n    h += 1\n    rows = (h @ w).sigmoid().sum(0)\n"
        "    return 1e6 + rows.sum() * 2\n"
    )
    new = f"h = h + 1\n    rows = sum((one @ w).sigmoid() for one in h)\n    return 1e6 + rows.sum() * {factor}"
    old = text[text.index("h += 1") :].removesuffix("\n")
    judgement = judge(text, old, new, DeclaredCall("f(randn(9, 5), randn(5, 5))"))
    assert judgement.verdict is verdict, judgement


def test_a_gradient_that_is_dense_for_a_sparse_one_is_another(judge: Judge) -> None:
    text = "table = torch.nn.Embedding(5, 3, sparse=True)\ny = table(torch.tensor([1, 2, 2])).exp()\ny[0] = 0\n"
    looked_up = "torch.nn.functional.embedding(torch.tensor([1, 2, 2]), table.weight)"
    text += "y.sum().backward()\n"
    assert judge(text, "y[0] = 0", "y = y.clone(); y[0] = 0").verdict is Verdict.FIXED
    judgement = judge(text, "table(torch.tensor([1, 2, 2])).exp()", f"{looked_up}.exp().clone()")
    assert judgement.verdict is Verdict.REJECTED
    assert "is sparse_coo float32[5, 3] before, float32[5, 3] after" in judgement.reason
