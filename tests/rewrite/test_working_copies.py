"""Leaves: `work_on_copy` leaves them as they are, `update_quietly` changes those that are meant to change."""

from __future__ import annotations

from typing import Any

import pytest
from programs import assert_cured, fixed, run

from gradfix.findings import Applicability

torch = pytest.importorskip("torch")

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
LEAF = "x = torch.randn(3, 3, requires_grad=True)\n"
END = "show(loss)\nloss.backward()\nprint(x.grad)\n"

PROGRAMS = {
    "an element": ("x[0, 0] = 1.0\nloss = (x * 2).sum()\n", "x_copy[0, 0] = 1.0"),
    "all of it, its gradient kept": ("x.mul_(2)\nx.retain_grad()\nloss = x.exp().sum()\n", "x.retain_grad()"),
    "an augmented assignment": ("x += 1\nloss = (x * x).sum()\n", "x_copy = x + 1"),
    "through a view with a name": ("row = x[1]\nrow[0] = 2.0\nloss = (x * 3).sum() + row.sum()\n", "row = x_copy[1]"),
    "in a module": ("net = nn.ReLU(inplace=True)\nout = net(x)\nloss = (out + x).sum()\n", "out = net(x_copy)"),
    "in a function of the file": (
        "def f(t):\n    t.add_(1)\n    return t * 2\n\n\nout = f(x)\nloss = (out * x).sum()\n",
        "out = f(x_copy)",
    ),
    "in a loop without backward": (
        "for i in range(2):\n    x[i] = x[i] * 0.5\nloss = (x * x).sum()\n",
        "x_copy = x.clone()",
    ),
    "bound anew later": ("x[0] = 0\nx = x * 2\nx[1] = 3.0\nloss = x.sum()\n", "x = x_copy * 2"),
    "given back by what writes it": (
        "a = x * 2\nx = F.silu(x, inplace=True)\nloss = (a * x).sum()\n",
        "x_copy = F.silu(x_copy, inplace=True)",
    ),
    "an alias read later": ("keep = x\nx.clamp_(min=0)\nloss = (keep * 2).sum()\nshow(keep)\n", "keep = x_copy"),
    "read by a function defined before": (
        "def g():\n    return x * 2\n\n\nx[0] = 1.0\nloss = g().sum()\n",
        "    return x_copy * 2",
    ),
    "moved along a gradient that has a graph": (
        "(slope,) = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)\n"
        "x -= 0.1 * slope\nloss = (x * x).sum()\n",
        "x_copy = (x_copy - 0.1 * slope).to(x_copy.dtype)",
    ),
    "by a method with arguments": ("x.clamp_(min=0.2)\nloss = x.log().sum()\n", "x_copy = x.clamp(min=0.2)"),
    "under a mask": ("x[x < 0] = 0.5\nloss = x.log().sum()\n", "x_copy = torch.where(x < 0, 0.5, x)"),
    "by random numbers of its shape": (
        "x += 0.1 * torch.randn_like(x)\nloss = (x * x).sum()\n",
        "x_copy = x + 0.1 * torch.randn_like(x)",
    ),
    "by a wider one": ("x *= torch.ones(3, dtype=torch.float64)\nloss = (x * x).sum()\n", None),
    "handed to a function that writes it, too": (
        "def f(t):\n    t.add_(1)\n    return t * 2\n\n\nx += f(x)\nloss = (x * x).sum()\n",
        "x_copy += f(x_copy)",
    ),
    "written again and again": (
        "x *= 2\nx[0] = 0.0\nx.clamp_(-1, 1)\nloss = (x * x).sum()\n",
        "x_copy.clamp_(-1, 1)",
    ),
    "a second name for it": ("a = x\na += 1\na[0] = 2.0\nloss = (a * a).sum()\n", "a = x.clone()"),
    "all that a comprehension reads": (
        "parts = [x for _ in range(2)]\nparts[0].mul_(2)\nloss = parts[1].sum()\n",
        "x_copy = x.clone()",
    ),
    "in a comprehension": ("parts = [t.mul_(2) for t in (x, x)]\nloss = parts[0].sum()\n", None),
    "with the name taken": ("x_copy = 1\nx[0] = 1.0\nloss = (x * x_copy).sum()\n", "x_working_copy[0] = 1.0"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_leaf_gets_a_working_copy(name: str) -> None:
    body, line = PROGRAMS[name]
    text = assert_cured(HEAD + LEAF + body + END, "leaf Variable", "x")
    assert line is None or line in text.splitlines(), text


def test_a_parameter_made_by_hand() -> None:
    text = (
        HEAD
        + "w = torch.nn.Parameter(torch.randn(3))\nw[0] = 0.0\nloss = (w * w).sum()\nloss.backward()\nshow(w.grad)\n"
    )
    made = fixed(text)
    assert "w_copy = w.clone()\nw_copy[0] = 0.0" in made
    assert run(made).error is None
    assert "show(w.grad)" in made


def test_made_a_leaf_by_a_method() -> None:
    body = "x = torch.randn(3)\nx.requires_grad_()\nx[0] = 1\nloss = (x * x).sum()\nloss.backward()\nshow(x.grad)\n"
    made = fixed(HEAD + body)
    assert "x.requires_grad_()\nx_copy = x.clone()\nx_copy[0] = 1\nloss = (x_copy * x_copy).sum()" in made
    assert run(made).error is None


def test_made_a_leaf_by_an_assignment() -> None:
    body = "x = torch.randn(3)\nx.requires_grad = True\nx[0] = 1\nloss = (x * x).sum()\nloss.backward()\nshow(x.grad)\n"
    made = fixed(HEAD + body)
    assert "x.requires_grad = True\nx_copy = x.clone()\nx_copy[0] = 1\nloss = (x_copy * x_copy).sum()" in made
    assert run(made).error is None


REFUSED = {
    "bound in a branch": LEAF + "if x.sum() > 0:\n    x = x * 2\nx[0] = 1\nloss = x.sum()\nprint(x.grad)\n",
    "its memory handled": LEAF + "x.data.zero_()\nx[0] = 1\nloss = x.sum()\nprint(x.grad)\n",
    "a global of a function": "def f():\n    global x\n    x = 1\n\n\n"
    + LEAF
    + "x[0] = 1\nloss = x.sum()\nprint(x.grad)\n",
    "looked up by name": LEAF + "x[0] = 1\nloss = globals()['x'].sum() + x.sum()\nprint(x.grad)\n",
    "in every round of training": LEAF
    + "for _ in range(2):\n    x[0] = 1\n    loss = (x * x).sum()\n    loss.backward()\n    print(x.grad)\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_copy_where_the_name_may_stand_for_something_else(name: str) -> None:
    assert "x_copy" not in fixed(HEAD + REFUSED[name] + "loss.backward()\n", Applicability.UNSAFE)


def test_an_update_by_the_own_gradient_goes_under_no_grad() -> None:
    text = (
        HEAD + LEAF + "for _ in range(3):\n    loss = (x * x).sum()\n    loss.backward()\n"
        "    x -= 0.1 * x.grad  # a step\n    x.grad.zero_()\nshow(x)\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    made = fixed(text)
    assert "    with torch.no_grad():\n        x -= 0.1 * x.grad  # a step\n" in made
    assert run(made).error is None
    (value,) = run(made).shown
    (start,) = run(HEAD + LEAF + "show(x)\n").shown
    assert (value - start * 0.8**3).abs().max() < 1e-6  # type: ignore[operator]  # tensors


STEPS = "x.grad.zero_()\nw.grad.zero_()\nshow(x, w)\n"
UPDATES = {
    "one after the other": (
        "x -= 0.1 * x.grad\nw.sub_(w.grad)  # a step\n",
        "with torch.no_grad():\n    x -= 0.1 * x.grad\n    w.sub_(w.grad)  # a step\n",
    ),
    "behind a block that is there": (
        "with torch.no_grad():\n    x -= 0.1 * x.grad\nw -= w.grad\n",
        "with torch.no_grad():\n    x -= 0.1 * x.grad\n    w -= w.grad\n",
    ),
    "behind a block that is indented otherwise": (
        "with torch.no_grad():\n  x -= 0.1 * x.grad\nw -= w.grad\n",
        "with torch.no_grad():\n  x -= 0.1 * x.grad\n  w -= w.grad\n",
    ),
    "apart": (
        "x -= 0.1 * x.grad\nprint(w)\nw -= w.grad\n",
        "with torch.no_grad():\n    x -= 0.1 * x.grad\nprint(w)\nwith torch.no_grad():\n    w -= w.grad\n",
    ),
    "one to be left alone": (
        "x -= 0.1 * x.grad\nw -= w.grad  # gradfix: ignore\n",
        "with torch.no_grad():\n    x -= 0.1 * x.grad\nw -= w.grad  # gradfix: ignore\n",
    ),
    "before a block that is there": (
        "x -= 0.1 * x.grad\nwith torch.no_grad():\n    # a step\n    w -= w.grad\n",
        "with torch.no_grad():\n    x -= 0.1 * x.grad\n    # a step\n    w -= w.grad\n",
    ),
    "comments between": (
        "x -= 0.1 * x.grad  # one\n# two\nw -= (\n    w.grad\n)\n",
        "with torch.no_grad():\n    x -= 0.1 * x.grad  # one\n    # two\n    w -= (\n        w.grad\n    )\n",
    ),
    "a loop that does nothing else": (
        'for name, p in zip("xw", (x, w)):\n    if name == "x":\n        p -= 0.1 * p.grad\n    else:\n'
        "        p -= p.grad\n",
        'with torch.no_grad():\n    for name, p in zip("xw", (x, w)):\n        if name == "x":\n'
        "            p -= 0.1 * p.grad\n        else:\n            p -= p.grad\n",
    ),
    "a loop that computes": (
        "for p in (x, w):\n    p -= 0.1 * p.grad\n    y = p * 2\n",
        "for p in (x, w):\n    with torch.no_grad():\n        p -= 0.1 * p.grad\n    y = p * 2\n",
    ),
    "a branch on one line": (
        "if True: x -= 0.1 * x.grad\n",
        "with torch.no_grad():\n    if True: x -= 0.1 * x.grad\n",
    ),
    "lines of a string": (
        'for p in (x,):\n    p -= {"""\na""": 0.1}["\\na"] * p.grad\n',
        'with torch.no_grad():\n    for p in (x,):\n        p -= {"""\na""": 0.1}["\\na"] * p.grad\n',
    ),
    "behind a block in one line": (
        "with torch.no_grad(): x -= 0.1 * x.grad\nw -= w.grad\n",
        "with torch.no_grad(): x -= 0.1 * x.grad\nwith torch.no_grad():\n    w -= w.grad\n",
    ),
}


@pytest.mark.parametrize("name", UPDATES)
def test_updates_that_stand_together_share_a_block(name: str) -> None:
    before, after = UPDATES[name]
    head = HEAD + LEAF + "w = torch.ones(3, requires_grad=True)\nloss = (x * w).sum()\nloss.backward()\n"
    assert "leaf Variable" in (run(head + before + STEPS).error or "")
    made = fixed(head + before + STEPS)
    assert made == head + after + STEPS
    assert fixed(made) == made
    if "ignore" not in before:
        assert run(made).error is None


def test_many_updates_take_little_time_each() -> None:
    leaves = [f"w{number}" for number in range(120)]
    made = "".join(f"{leaf} = torch.ones(3, requires_grad=True)\n" for leaf in leaves)
    updates = [f"{leaf} -= {leaf}.grad\n" for leaf in leaves]
    after = fixed(HEAD + made + f"sum([{', '.join(leaves)}]).sum().backward()\n" + "".join(updates))
    assert all(f"\n    {update}" in after for update in updates)
    assert 1 < after.count("no_grad") < 5


def test_what_is_normalised_after_a_step_is_an_update_though_computed_from_the_leaf() -> None:
    text = (
        HEAD + "x = torch.rand(3, requires_grad=True)\nfor _ in range(2):\n"
        "    (slope,) = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)\n"
        "    slope.norm().backward()\n    x *= 2 / x.sum()\n    x.grad.zero_()\nshow(x)\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    made = fixed(text, Applicability.UNSAFE)
    assert "    with torch.no_grad():\n        x *= 2 / x.sum()\n" in made
    assert run(made).error is None


def test_what_is_kept_in_bounds_before_each_step_is_an_update_of_one_leaf() -> None:
    head = HEAD + "x = torch.tensor([2.0, 0.5], requires_grad=True)\nstep = torch.optim.SGD([x], lr=0.1)\n"
    text = head + (
        "for _ in range(2):\n    x.clamp_(0, 1)\n    step.zero_grad()\n    loss = (x * x).sum()\n"
        "    loss.backward()\n    step.step()\nshow(x)\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    assert fixed(text) == text
    made = fixed(text, Applicability.UNSAFE)
    assert "    with torch.no_grad():\n        x.clamp_(0, 1)\n" in made
    ran = run(made)
    assert ran.error is None
    assert torch.allclose(ran.shown[0], torch.tensor([1.0, 0.5]) * 0.8**2)  # type: ignore[arg-type]  # tensors


def test_a_leaf_made_anew_in_each_round_is_no_parameter_to_update() -> None:
    text = HEAD + (
        "for _ in range(2):\n    x = torch.ones(2, requires_grad=True)\n    x.mul_(3)\n    loss = (x * x).sum()\n"
        "    loss.backward()\n    show(x.grad)\n"
    )
    made = fixed(text, Applicability.UNSAFE)
    assert "no_grad" not in made
    assert torch.equal(run(made).shown[0], torch.full((2,), 18.0))  # type: ignore[arg-type]  # tensors


def test_an_update_of_parameters_in_a_loop() -> None:
    text = (
        "import torch\nimport torch.nn as nn\n\nnet = nn.Linear(2, 2)\nloss = net(torch.ones(1, 2)).sum()\n"
        "loss.backward()\nfor p in net.parameters():\n    p.sub_(0.1 * p.grad)\nshow(net.weight)\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    made = fixed(text)
    assert "with torch.no_grad():\n    for p in net.parameters():\n        p.sub_(0.1 * p.grad)\n" in made
    assert run(made).error is None


def test_parameters_that_only_the_module_reads_afterwards_change_in_place_when_asked() -> None:
    text = (
        "import torch\nimport torch.nn as nn\n\nteacher, net = nn.Linear(2, 1), nn.Linear(2, 1)\n\n\n"
        "def follow(rate):\n    for t, p in zip(teacher.parameters(), net.parameters()):\n"
        "        t.mul_(1 - rate).add_(p, alpha=rate)\n\n\n"
        "follow(0.5)\nfor w in net.parameters():\n    w *= 2\nshow(teacher.weight)\n"
        "(net(torch.ones(1, 2)) - teacher(torch.ones(1, 2))).sum().backward()\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    assert fixed(text) == text
    made = fixed(text, Applicability.UNSAFE)
    pairs = "    with torch.no_grad():\n        for t, p in zip(teacher.parameters(), net.parameters()):\n"
    assert pairs + "            t.mul_(1 - rate).add_(p, alpha=rate)\n" in made
    assert "with torch.no_grad():\n    for w in net.parameters():\n        w *= 2\n" in made
    ran = run(made)
    assert ran.error is None
    assert not torch.equal(ran.shown[0], run(made.replace("follow(0.5)\n", "")).shown[0])  # type: ignore[arg-type]  # tensors


def test_a_parameter_of_a_module_gets_a_local_copy_when_asked() -> None:
    text = (
        "import torch\nimport torch.nn as nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.scale = nn.Parameter(torch.ones(3) * 2)\n\n"
        '    def forward(self, x):\n        """Scale."""\n        if x.shape[0] > 1:\n            self.scale.pow_(2)\n'
        "        self.scale[0] += 1\n        return x * self.scale\n\n\n"
        "net = Net()\nnet(torch.ones(3)).sum().backward()\nshow(net.scale.grad)\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    assert fixed(text) == text
    made = fixed(text, Applicability.UNSAFE)
    assert "        scale_copy = self.scale.clone()\n        if x.shape[0] > 1:\n" in made
    result = run(made)
    assert result.error is None
    assert result.shown[0].tolist() == [4.0, 4.0, 4.0]  # type: ignore[attr-defined]  # a tensor: d (s² + 1) / ds


NET = "import torch\nfrom torch import nn\n\n\n"
OF_A_LAYER = (
    "layer = nn.Linear(2, 2)\n\n\ndef f(x):\n    layer.weight[0] *= 2\n    return {}\n\n\n"
    "f(torch.ones(2)).sum().backward()\n"
)
OF_A_MODULE = (
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.scale = nn.Parameter(torch.ones(3))\n\n    def scaled(self, x):\n        return x * self.scale\n\n"
    "    def forward(self, x):\n        self.scale.mul_(2)\n        return {}\n\n\n"
    "Net()(torch.ones(3)).sum().backward()\n"
)


@pytest.mark.parametrize(
    "text",
    [OF_A_LAYER.format("layer(x)"), OF_A_MODULE.format("self.scaled(x)"), OF_A_MODULE.format("x * self.scaled(x)")],
    ids=["its-module-is-called", "a-method-reads-it", "only-a-method-reads-it"],
)
def test_a_parameter_that_is_read_elsewhere_gets_no_local_copy(text: str) -> None:
    assert fixed(NET + text, Applicability.UNSAFE) == NET + text


def test_a_parameter_of_a_layer_gets_one_where_the_function_spells_what_reads_it() -> None:
    text = NET + OF_A_LAYER.format("x @ layer.weight.T + layer.bias")
    made = fixed(text, Applicability.UNSAFE)
    assert "    weight_copy[0] *= 2\n    return x @ weight_copy.T + layer.bias\n" in made
    assert run(made).error is None


OF_SEVERAL = (
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        one = nn.Parameter(torch.ones(3) * 2)\n        self.scales = {}\n\n"
    "    def forward(self, x):\n        {}\n        return {}\n\n\n"
    "net = Net()\nnet(torch.ones(3)).sum().backward()\nshow(*(p.grad for p in net.parameters()))\n"
)
LISTED = "nn.ParameterList([one, nn.Parameter(torch.ones(3))])"
NAMED = 'nn.ParameterDict({"a": one, "b": nn.Parameter(torch.ones(3))})'


@pytest.mark.parametrize(
    ("held", "write", "read", "copy"),
    [
        (
            LISTED,
            "self.scales[0].pow_(2)",
            "x * self.scales[0] + self.scales[1]",
            "scales_copy = self.scales[0].pow(2)",
        ),
        (
            NAMED,
            'self.scales["a"][0] = 4',
            'x * self.scales["a"] + self.scales["b"]',
            'copy = self.scales["a"].clone()',
        ),
        (NAMED, 'self.scales["a"] *= 2', "x * sum(self.scales.values())", None),
        (LISTED, "self.scales[0] *= 2", "x * self.scales[-2]", None),
    ],
)
def test_of_several_parameters_the_one_that_is_written_gets_a_local_copy(
    held: str, write: str, read: str, copy: str | None
) -> None:
    text = NET + OF_SEVERAL.format(held, write, read)
    assert fixed(text) == text
    made = fixed(text, Applicability.UNSAFE)
    if copy is None:
        assert "_copy" not in made
    else:
        assert copy in made
        assert run(made).error is None


def test_a_write_after_backward_may_be_an_update_and_asks() -> None:
    text = (
        HEAD + LEAF + "loss = (x * x).sum()\ng = torch.autograd.grad(loss, x)[0]\nx.sub_(0.1 * g)\n"
        "loss = (x * x).sum()\nloss.backward()\nprint(x.grad)\n"
    )
    assert fixed(text) == text
    assert "with torch.no_grad():\n    x.sub_(0.1 * g)" in fixed(text, Applicability.UNSAFE)


def test_two_leaves_whose_copies_are_made_before_one_statement() -> None:
    text = fixed(
        "import torch\nx = torch.randn(3, requires_grad=True)\nw = torch.randn(3, requires_grad=True)\n"
        "for t in (x, w):\n    t *= 0.5\n(x * w).sum().backward()\n"
    )
    assert "x_copy = x.clone()\nw_copy = w.clone()\nfor t in (x_copy, w_copy):\n" in text
    names: dict[str, Any] = {}
    exec(compile(text, "program.py", "exec"), names)
    assert torch.equal(names["x"].grad, names["w"].detach() / 4)
    assert torch.equal(names["w"].grad, names["x"].detach() / 4)


ASKED_ELSEWHERE = {
    "a list that an optimizer takes": "params = [x]\nstep = torch.optim.SGD(params, lr=0.1)\nx += 1\nloss = x.sum()\n",
    "a second name whose gradient is read": "y = x\nx[0] = 1\nloss = y.sum()\nshow(y.grad)\n",
    "items of a loop": "x[0] = 1\nloss = x.sum()\nfor name, p in zip('ab', (x, x)):\n    show(p.grad)\n",
    "a function that reads the gradient": "def f(x):\n    return x.grad\n\n\nx[0] = 1\nloss = x.sum()\nf(x)\n",
    "a function that asks for a leaf": "def f(t):\n    assert t.is_leaf\n\n\nx[0] = 1\nf(x)\nloss = x.sum()\n",
    "a lambda": "get = lambda: x\nx[0] = 1\nloss = get().sum()\nshow(get().grad)\n",
    "inputs put together before": "inputs = (x,)\nx += 1\nloss = x.sum()\nloss.backward(inputs=inputs)\n",
    "an attribute": "class Box:\n    pass\n\n\nbox = Box()\nbox.x = x\nx[0] = 1\nloss = box.x.sum()\n",
}


@pytest.mark.parametrize("name", ASKED_ELSEWHERE)
def test_who_asks_a_leaf_under_another_name_would_get_the_copy(name: str) -> None:
    text = HEAD + LEAF + ASKED_ELSEWHERE[name] + "loss.backward()\n"
    assert fixed(text) == text
    assert "x_copy" in fixed(text, Applicability.UNSAFE)


GAIN = (
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.gain = nn.Parameter(torch.ones(3))\n\n    def forward(self, t):\n"
    "        {first}return t * self.gain\n\n\n"
)
LET_GO = {
    "a module of the file": (GAIN.format(first="") + "net = Net()\nx[0] = 1\nloss = net(x).sum()\n", "net.gain"),
    "a function of the file": (
        "w = torch.ones(3, requires_grad=True)\nboth = [w]\n\n\ndef f(t):\n    s = t.exp()\n    return s * 2\n\n\n"
        "x[0] = 1\nloss = (f(x) * both[0]).sum()\n",
        "both[0]",
    ),
}
KEEPING = {
    "by a module": GAIN.format(first="self.seen = t\n        ") + "net = Net()\nx[0] = 1\nloss = net(x).sum()\n",
    "by a hook": GAIN.format(first="")
    + "net, seen = Net(), []\nnet.register_forward_hook(lambda m, given, out: seen.append(given[0]))\n"
    + "x[0] = 1\nloss = net(x).sum()\n",
    "by who gives it back": "def f(t):\n    return t\n\n\nx[0] = 1\ny = f(x)\nloss = y.sum()\n",
}


@pytest.mark.parametrize("name", LET_GO)
def test_who_only_computes_with_a_leaf_may_get_the_copy(name: str) -> None:
    body, asked = LET_GO[name]
    text = assert_cured(
        HEAD + LEAF + body + f"show(loss)\nloss.backward()\nprint({asked}.grad)\n", "leaf Variable", "x"
    )
    assert "x_copy" in text


@pytest.mark.parametrize("name", KEEPING)
def test_who_keeps_a_leaf_gets_the_leaf(name: str) -> None:
    text = HEAD + LEAF + KEEPING[name] + "loss.backward()\nshow(seen[0].grad)\n"
    assert fixed(text) == text


@pytest.mark.parametrize("way", ["return x", "yield x"])
def test_who_calls_gets_the_leaf(way: str) -> None:
    text = HEAD + f"def make():\n    x = torch.zeros(3, requires_grad=True)\n    x[0] = 1\n    {way}\n"
    assert fixed(text) == text


def test_other_leaves_are_asked_under_their_names() -> None:
    body = (
        "y = torch.ones(3, requires_grad=True)\nboth = [x, y]\nx[0] = 1\nloss = (both[0] * y).sum()\nloss.backward()\n"
    )
    text = HEAD + LEAF + body + "show(x.grad, y.grad)\n"
    made = fixed(text)
    assert "both = [x_copy, y]\nx_copy[0] = 1\n" in made
    assert run(made).error is None


def test_a_parameter_that_is_registered_under_another_name_is_no_plain_tensor() -> None:
    text = HEAD + "w = nn.Parameter(torch.zeros(3))\nw[0] = 1.0\nnet = nn.Module()\nnet.w = w\nnet.w.sum().backward()\n"
    assert fixed(text) == text
