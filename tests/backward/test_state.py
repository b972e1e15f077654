"""What a call or a program leaves for later calls counts: wrong values there are no equivalent rewrite."""

from __future__ import annotations

import weakref

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.findings import HazardKind, Verdict

WRITTEN = frozenset({HazardKind.SAVED_THEN_WRITTEN})
CALL = DeclaredCall("f(randn(3))")
BODY = "    h = x.exp()\n    y = h * 2\n"
GLOBAL = f"CACHE = {{}}\ndef f(x):\n{BODY}    CACHE['x'] = y\n"
CLASS = f"class State:\n    value = None\ndef f(x):\n{BODY}    State.value = y.sum()\n    return h * 2\n"
HELD = f"class State:\n    __slots__ = ('kept',)\nSTATE = State()\ndef f(x):\n{BODY}"
HELD += "    STATE.kept = [y]\n    return h * 2\n"
DEFAULT = f"def f(x, seen=[]):\n{BODY}    seen.append(y.sum().item())\n    return h * 2\n"
CLOSURE = (
    "def make():\n    kept = 0\n    def f(x):\n        nonlocal kept\n        h = x.exp()\n        y = h * 2\n"
    "        kept = float(y.sum())\n        return h * 2\n    return f\nf = make()\n"
)
GIVEN = f"def f(x, out):\n{BODY}    out['y'] = y.detach()\n    return h * 2\n"
MODULE = (
    "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.register_buffer('seen', torch.ones(3))\n"
    "    def forward(self, x):\n        h = x.exp()\n        y = h * 2\n        self.seen.mul_(0.9).add_(y.detach())\n"
    "        return h * 2\n"
)
ARRAY = f"import numpy as np\nLOG = np.zeros(3)\ndef f(x):\n{BODY}    LOG[:] = y.detach().numpy()\n    return h * 2\n"
RESULT = f"import numpy as np\ndef f(x):\n{BODY}    return h * 2, y.detach().numpy()\n"
PROGRAM = f"SEEN = []\ndef f(x):\n{BODY}    SEEN.append(y.sum().item())\n    return h.sum()\n"
PROGRAM += "f(torch.randn(3, requires_grad=True)).backward()\n"
ITERATED = f"NEXT = iter([1.0, 2.0, 3.0])\ndef f(x):\n{BODY}    return h * 2\n"
GENERATED = "def powers():\n    n = 1.0\n    while True:\n        yield n\n        n *= 2\nNEXT = powers()\n"
GENERATED += f"next(NEXT)\ndef f(x):\n{BODY}    return h * 2\n"
CACHED = "import functools\n@functools.lru_cache(8)\ndef kept(n):\n    return torch.zeros(n)\n"
CACHED += f"def f(x):\n{BODY}    return h * kept(3).numel()\n"


@pytest.mark.parametrize(
    ("text", "call", "named"),
    [
        pytest.param(GLOBAL, CALL, "", id="nothing but an item of a global"),
        pytest.param(GLOBAL.replace("def", "@torch.no_grad()\ndef"), CALL, "CACHE['x']", id="without gradients"),
        pytest.param(CLASS, CALL, "State.value", id="an attribute of a class"),
        pytest.param(HELD, CALL, "STATE.kept[0]", id="in a list in an object"),
        pytest.param(DEFAULT, CALL, "f.__defaults__[0][0]", id="a default"),
        pytest.param(CLOSURE, CALL, "f.__closure__['kept']", id="a closure"),
        pytest.param(GIVEN, DeclaredCall("f(randn(3), {})"), "argument 2['y']", id="in an argument"),
        pytest.param(MODULE, DeclaredCall("Net()(randn(3))"), "`self.seen` afterwards", id="a buffer"),
        pytest.param(ARRAY, CALL, "LOG", id="a NumPy array"),
        pytest.param(RESULT, CALL, "the result[1]", id="a NumPy array that is returned"),
        pytest.param(PROGRAM, None, "SEEN[0]", id="a program"),
    ],
)  # fmt: skip
def test_other_values_left_behind_are_told(judge: Judge, text: str, call: DeclaredCall | None, named: str) -> None:
    judgement = judge(text, "y = h * 2", "y = h * 3", call)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert named in judgement.reason


STANDING = {
    "contextvars.ContextVar('v', default=1.0)": ("V.set(V.get() + {})", "`V.get()`"),
    "threading.local()": ("V.n = getattr(V, 'n', 0) + {}", "`V.n`"),
}


@pytest.mark.parametrize("made", STANDING)
def test_what_stands_for_something_else_is_followed(judge: Judge, made: str) -> None:
    step, named = STANDING[made]
    text = f"import contextvars, threading\nV = {made}\n"
    text += f"def f(x):\n{BODY}    {step.format(1)}\n    return h * 2\n"
    judgement = judge(text, "y = h * 2", f"y = h * 2; {step.format(1)}", CALL)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert judgement.reason.startswith(f"{named} afterwards is ")


def test_a_weak_reference_stands_for_what_is_alive() -> None:
    pytest.importorskip("torch")
    from gradfix.backward.worker.moving import moving_parts

    kept = {1, 2}
    reference = weakref.ref(kept)
    assert moving_parts(reference) == ("ReferenceType", [("()", kept)])
    del kept
    assert moving_parts(reference) == ("ReferenceType", [("()", None)])


@pytest.mark.parametrize(
    "switched",
    ["torch.use_deterministic_algorithms(True)", "torch.autograd.set_detect_anomaly(True)"],
)
def test_switches_of_torch_that_are_left_count(judge: Judge, switched: str) -> None:
    judgement = judge(GLOBAL, "y = h * 2", f"y = h * 2; {switched}", CALL)
    assert judgement.verdict is Verdict.REJECTED, judgement


def test_another_parameter_with_the_same_values_is_another(judge: Judge) -> None:
    text = (
        "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.w = torch.nn.Parameter(torch.ones(3))\n"
        "    def forward(self, x):\n        h = x.exp()\n        y = h * self.w\n        return y * 2\n"
    )
    new = "y = h * self.w; self.w = torch.nn.Parameter(self.w.detach().clone())"
    judgement = judge(text, "y = h * self.w", new, DeclaredCall("Net()(randn(3))"))
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert judgement.reason == "`self.w as an object` afterwards is nothing before, another one after"


LAST_STEP = """\
net = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
h = net(torch.randn(2, 3)).sigmoid()
h *= 2
(h * h).sum().backward()
optimizer.step()
"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (
            "optimizer.step()",
            "optimizer.step(); optimizer.param_groups[0]['lr'] = 0.2",
            "`optimizer.param_groups[0]['lr']",
        ),
        ("h *= 2\n(h * h).sum().backward()\noptimizer.step()", "h = h * 2\n(h * h).sum().backward()", "`net."),
        ("optimizer.step()", "optimizer.step(); net.eval()", "`net.training` afterwards is True before, False after"),
    ],
)
def test_what_a_program_has_trained_counts_in_the_end(judge: Judge, old: str, new: str, named: str) -> None:
    text = LAST_STEP if "h *= 2" in old else LAST_STEP.replace("h *= 2", "h = h * 2")
    judgement = judge(text, old, new)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert named in judgement.reason
    assert judge(LAST_STEP, "h *= 2", "h = h * 2").verdict is Verdict.FIXED


def test_an_object_that_takes_its_time_is_left_alone(judge: Judge) -> None:
    text = (
        "import time\nclass Slow:\n    def __getattribute__(self, name):\n        time.sleep(5)\n        return 1\n"
        f"SLOW = Slow()\ndef f(x):\n    slow = SLOW\n{BODY}    return y\n"
    )
    assert judge(text, "y = h * 2", "y = h.mul(2)", CALL).verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize(
    ("text", "new", "named"),
    [
        pytest.param(ITERATED, "next(NEXT); y = h * 2", "list_iterator with 2 left after", id="an iterator"),
        pytest.param(GENERATED, "next(NEXT); y = h * 2", "`NEXT.gi_frame['n']` afterwards", id="a generator"),
        pytest.param(CACHED, "kept(3)[0] = 1; y = h * 2", "`kept.cache[", id="what a function caches"),
    ],
)
def test_what_moves_on_from_call_to_call_is_told(judge: Judge, text: str, new: str, named: str) -> None:
    judgement = judge(text, "y = h * 2", new, CALL)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert named in judgement.reason
    assert judge(text, "y = h * 2", "y = h.mul(2)", CALL).verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize("text", [GLOBAL, CLASS, DEFAULT, GIVEN])
def test_the_same_values_in_another_tensor_are_no_difference(judge: Judge, text: str) -> None:
    call = DeclaredCall("f(randn(3), {})") if text is GIVEN else CALL
    written = text.replace("y = h * 2\n", "y = h * 2\n    a = y.sin().sum()\n    h = h + a\n    y[0] = 1\n")
    judgement = judge(written, "y[0] = 1", "y = y.clone(); y[0] = 1", call, kinds=WRITTEN)
    assert judgement.verdict in (Verdict.FIXED, Verdict.EQUIVALENT), judgement


def test_a_graph_that_is_kept_must_stay(judge: Judge) -> None:
    text = f"CACHE = {{}}\ndef f(x):\n{BODY}    CACHE['x'] = y\n    return h\n"
    judgement = judge(text, "CACHE['x'] = y", "CACHE['x'] = y.detach()", CALL)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert judgement.reason == "`CACHE['x']` afterwards has a graph before, none after"


def test_what_varies_from_run_to_run_says_nothing(judge: Judge) -> None:
    text = f"import time\nSEEN = []\ndef f(x):\n{BODY}    SEEN.append(time.time_ns())\n    return y.sin()\n"
    assert judge(text, "y.sin()", "torch.sin(y)", CALL).verdict is Verdict.EQUIVALENT


def test_temporaries_of_a_program_are_nobodys(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\ny = x.exp()\nfirst = y[0]\ny[0] = 1\n(y * y).sum().backward()\n"
    judgement = judge(text, "y[0] = 1", "y = y.clone(); y[0] = 1; one = 1", kinds=WRITTEN)
    assert judgement.verdict is Verdict.FIXED, judgement


def test_what_refuses_to_be_walked_is_left_out(judge: Judge) -> None:
    text = (
        "class Odd(dict):\n    def items(self):\n        raise KeyError('no')\n"
        f"ODD = Odd(a=1)\nCACHE = {{}}\ndef f(x):\n{BODY}    CACHE['x'] = (ODD['a'], y.detach())\n    return h\n"
    )
    assert judge(text, "y = h * 2", "y = h + h", CALL).verdict is Verdict.EQUIVALENT
    assert judge(text, "y = h * 2", "y = h * 3", CALL).verdict is Verdict.REJECTED


def test_the_settings_of_torchs_own_modules_are_no_state(judge: Judge) -> None:
    text = (
        "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layers = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.ReLU(inplace=True))\n"
        "    def forward(self, x):\n        return self.layers(x)\n"
    )
    judgement = judge(text, "ReLU(inplace=True)", "ReLU()", DeclaredCall("Net()(randn(3))"), kinds=WRITTEN)
    assert judgement.verdict is Verdict.FIXED, judgement


def test_of_much_that_is_left_only_a_part_is_told(judge: Judge) -> None:
    text = (
        "class Proxy:\n    @property\n    def __class__(self):\n        raise RuntimeError('no object behind it')\n"
        f"PROXY, TABLE = Proxy(), list(range(3_000_000))\nCACHE = {{}}\ndef f(x):\n{BODY}"
        "    CACHE['x'] = (TABLE[2], type(PROXY), y.detach())\n    return h\n"
    )
    assert judge(text, "y = h * 2", "y = h + h", CALL).verdict is Verdict.EQUIVALENT
    assert judge(text, "y = h * 2", "y = h * 3", CALL).verdict is Verdict.REJECTED


@pytest.mark.parametrize(
    ("name", "verdict"), [("_torchdynamo_wrapper_id", Verdict.EQUIVALENT), ("place", Verdict.REJECTED)]
)
def test_what_the_compiler_of_torch_notes_at_functions_is_no_state(judge: Judge, name: str, verdict: Verdict) -> None:
    text = f"def f(x):\n{BODY}    return y\ndef g():\n    pass\ng.{name} = g.__code__.co_firstlineno\n"
    assert judge(text, "y = h * 2", "y = h\n    y = y + h", CALL).verdict is verdict
