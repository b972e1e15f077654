"""Random small PyTorch programs from a seed: readable source, 5 to about 30 lines, a scalar loss and its backward.

Written from torch's documentation, without a look at how gradfix decides. Shapes fit by construction; what still fails
in the forward pass for a reason other than autograd is for the judge to discard.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from . import constructs, scenes, writes
from .scope import Helper, Scope, Shape, Var
from .statements import compute, statement
from .vocabulary import LAYERS

SHAPES: tuple[Shape, ...] = ((3,), (3,), (4,), (2, 3), (3, 3), (2, 2), ())
HEAD = ("import random", "", "import torch", "import torch.nn as nn", "import torch.nn.functional as F", "")


@dataclass(frozen=True, slots=True)
class Program:
    """A program with the names that the judge feeds and reads."""

    seed: int
    kind: str
    text: str
    leaves: tuple[str, ...]  # module-level names of leaves and of modules that hold some


def generate(seed: int) -> Program:
    """The program of that seed; the same on every machine and Python."""
    random = Random(f"gradfix-truth-{seed}")
    kind = random.choices(["script", "function", "module", "training", "scene"], [5, 4, 4, 1, 4])[0]
    makers = {"script": _script, "function": _function, "module": _module, "training": _training, "scene": _scene}
    lines: list[str] = []
    leaves = makers[kind](random, lines)
    text = "\n".join(lines)
    head = [*constructs.imports(text + "\n".join(constructs.definitions(text))), *HEAD, *constructs.definitions(text)]
    return Program(seed, kind, "\n".join([*head, *_preamble(lines), *lines]) + "\n", tuple(leaves))


def _preamble(lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    made: list[str] = []
    if "FLAG" in text:
        made.append(f"FLAG = {len(text) % 2 == 0}")
    if "MODE" in text:
        made.append("MODE = 'train'")
    if "State()" in text:
        made += ["", "class State:", "    pass", "", ""]
    return made


def _leaf(scope: Scope, shape: Shape, stems: tuple[str, ...] = ("x", "w", "p", "g")) -> str:
    name = scope.fresh(stems)
    size = ", ".join(map(str, shape)) if shape else "()"
    forms = [f"torch.randn({size}, requires_grad=True)"] * 4
    forms += [f"torch.rand({size}, requires_grad=True)", f"nn.Parameter(torch.randn({size}))"]
    scope.put(f"{name} = {scope.random.choice(forms)}")
    scope.bind(Var(name, shape, leaf=True))
    return name


def _leaves(scope: Scope, shape: Shape) -> list[str]:
    found = [_leaf(scope, shape)]
    if scope.chance(0.5):
        found.append(_leaf(scope, shape if scope.chance(0.6) else scope.random.choice(SHAPES)))
    if scope.chance(0.25):
        name = scope.fresh(("target", "noise", "data"))
        scope.put(f"{name} = torch.randn({', '.join(map(str, shape)) if shape else '()'})")
        scope.bind(Var(name, shape))
    return found


def _end(scope: Scope, leaves: list[str], *, call_backward: bool = True) -> None:
    """A loss of a few of the names, mostly the newest; backward; what the leaves got."""
    parts = []
    for var in {scope.pick().text: None for _ in range(scope.random.choice([1, 2, 3, 3]))}:
        chosen = next(v for v in scope.names if v.text == var)
        parts.append(scope.scalar_of(chosen).operand)
    random = scope.random
    for leaf in leaves:
        if random.random() < 0.25 and leaf != "net":
            parts.append(f"{leaf}.sum()")
    if random.random() < 0.02:
        chosen = scope.pick()
        scope.put(f"loss = {chosen.text}")
    else:
        scope.put(f"loss = {' + '.join(parts)}")
    if call_backward:
        scope.put(random.choice(["loss.backward()"] * 9 + ["torch.autograd.backward(loss)"]))
    for leaf in leaves:
        if leaf != "net" and random.random() < 0.7:
            scope.put(f"print({leaf}.grad)")
    if random.random() < 0.7:
        shown = dict.fromkeys(scope.pick().text for _ in range(random.choice([1, 2, 3])))
        scope.put(f"print({', '.join(shown)})")


def _helpers(random: Random, lines: list[str], shape: Shape) -> list[Helper]:
    made: list[Helper] = []
    for name in random.sample(["helper", "update_", "act", "mix", "block"], random.choice([0, 1, 1, 2])):
        arguments = random.choice([1, 1, 2])
        parameters = [["t"], ["t", "u"]][arguments - 1]
        scope = Scope(random, lines, taken={*parameters}, in_function=True)
        scope.names = [Var(p, shape) for p in parameters]
        lines.append("")
        result: Shape | None = None
        with scope.block(f"def {name}({', '.join(parameters)}):", keep=True):
            for _ in range(random.choice([1, 1, 2, 3])):
                statement(scope, nested=random.random() < 0.7)
            if random.random() < 0.85:
                returned = scope.pick() if random.random() < 0.7 else scope.names[0]
                scope.put(f"return {returned.text}")
                result = returned.shape
        made.append(Helper(name, shape, result, arguments))
        lines += ["", ""]
    return made


def _script(random: Random, lines: list[str]) -> list[str]:
    shape = random.choice(SHAPES)
    helpers = _helpers(random, lines, shape) if random.random() < 0.5 else []
    scope = Scope(random, lines, helpers=helpers)
    leaves = _leaves(scope, shape)
    compute(scope)
    for _ in range(random.choice([2, 3, 4, 5, 7])):
        statement(scope)
    _end(scope, leaves)
    return leaves


def _function(random: Random, lines: list[str]) -> list[str]:
    shape = random.choice(SHAPES)
    helpers = _helpers(random, lines, shape) if random.random() < 0.4 else []
    parameters = ["x", "w"][: random.choice([1, 2])]
    inner = Scope(random, lines, taken={*parameters}, helpers=helpers, in_function=True)
    inner.names = [Var(p, shape) for p in parameters]
    lines.append("")
    with inner.block(f"def f({', '.join(parameters)}):", keep=True):
        compute(inner)
        for _ in range(random.choice([2, 3, 4, 6])):
            statement(inner)
        if random.random() < 0.5:
            returned = inner.pick()
        else:
            name = inner.fresh()
            inner.put(f"{name} = {inner.expr((), 2).text}")
            returned = Var(name, ())
        inner.put(f"return {returned.text}")
    lines += ["", ""]
    scope = Scope(random, lines, taken={"f"})
    leaves = [_leaf(scope, shape) for _ in parameters]
    arguments = [leaf if random.random() < 0.6 else f"{leaf} * 2" for leaf in leaves]
    scope.put(f"out = f({', '.join(arguments)})")
    scope.bind(Var("out", returned.shape, returned.dtype))
    if random.random() < 0.3:
        statement(scope)
    _end(scope, leaves)
    return leaves


def _module(random: Random, lines: list[str]) -> list[str]:
    width, batch = random.choice([2, 3]), random.choice([2, 3])
    fields = _class(random, lines, width, batch)
    scope = Scope(random, lines, taken={"net", "x", "out"})
    tracked = random.random() < 0.4
    scope.put("net = Net()")
    scope.put(f"x = torch.randn({batch}, {width}{', requires_grad=True' if tracked else ''})")
    scope.bind(Var("x", (batch, width), leaf=tracked))
    for _ in range(random.choice([0, 0, 1])):
        statement(scope)
    argument = random.choice([v.text for v in scope.floats() if v.shape == (batch, width)])
    scope.put(f"out = net({argument})")
    scope.bind(Var("out", (batch, width)))
    for _ in range(random.choice([0, 0, 1, 2])):
        statement(scope)
    if random.random() < 0.85:
        scope.names.append(Var("out", (batch, width)))
    _end(scope, ["x"] if tracked else [])
    if "gain" in fields:
        scope.put("print(net.gain.grad)")
    return ["net", "x"] if tracked else ["net"]


def _class(random: Random, lines: list[str], width: int, batch: int) -> list[str]:
    """`Net`, with layers, perhaps a parameter and a buffer; returns the names of its tensors."""
    layers = [
        f"{stem}{place}" for place, stem in enumerate(random.choices(["fc", "act", "layer"], k=random.choice([2, 3])))
    ]
    fields: list[str] = []
    lines += ["", "class Net(nn.Module):", "    def __init__(self):", "        super().__init__()"]
    for layer in layers:
        lines.append(f"        self.{layer} = {random.choice(LAYERS).format(n=width)}")
    if random.random() < 0.5:
        fields.append("gain")
        lines.append(f"        self.gain = nn.Parameter(torch.randn({width}))")
    else:  # something to differentiate by
        lines.append(f"        self.last = nn.Linear({width}, {width})")
        layers.append("last")
    if random.random() < 0.3:
        fields.append("running")
        lines.append(f"        self.register_buffer('running', torch.zeros({width}))")
    if random.random() < 0.25:
        lines.append(f"        self.blocks = nn.ModuleList([nn.Linear({width}, {width}) for _ in range(2)])")
        fields.append("blocks")
    lines.append("")
    scope = Scope(random, lines, depth=1, taken={"self", "x"}, in_function=True)
    scope.names = [Var("x", (batch, width))]
    if "gain" in fields:
        scope.names.insert(0, Var("self.gain", (width,), leaf=True))
    if "running" in fields:
        scope.names.insert(0, Var("self.running", (width,)))
    with scope.block("def forward(self, x):", keep=True):
        _forward(scope, layers, fields, (batch, width))
    lines += ["", ""]
    return fields


def _forward(scope: Scope, layers: list[str], fields: list[str], shape: Shape) -> None:
    random = scope.random
    current = "x"
    for layer in layers:
        made = (
            scope.fresh(("h", "y", "z")) if random.random() < 0.5 else ("h" if current != "x" else scope.fresh(("h",)))
        )
        scope.put(f"{made} = self.{layer}({current})")
        scope.bind(Var(made, shape))
        if random.random() < 0.25:
            scope.put(
                f"{made} {random.choice(['+=', '=', '*='])} {current}" if random.random() < 0.8 else f"{made} += 1"
            )
        current = made
        for _ in range(random.choice([0, 0, 1])):
            statement(scope)
        same = [v.text for v in scope.floats() if v.shape == shape and v.is_name]
        current = random.choice([current, current, random.choice(same)]) if same else current
    if "blocks" in fields:
        with scope.block("for block in self.blocks:"):
            scope.put(random.choice([f"{current} = {current} + block({current})", f"{current} += block({current})"]))
    if "running" in fields and random.random() < 0.6:
        with scope.block("with torch.no_grad():"):
            scope.put(f"self.running.mul_(0.9).add_({current}.mean(0), alpha=0.1)")
    if "gain" in fields and random.random() < 0.7:
        scope.put(random.choice([f"{current} = {current} * self.gain", f"{current} *= self.gain"]))
    if random.random() < 0.2:
        scope.put(f"self.last_seen = {current}")
        writes.write(scope, Var("self.last_seen", shape))
        current = random.choice([current, "self.last_seen"])
    if random.random() < 0.4:
        statement(scope)
    if random.random() < 0.15:
        with scope.block(f"if {scope.condition()}:"):
            scope.put(f"return {random.choice([current, current + ' * 2'])}")
    scope.put(f"return {current}")


def _training(random: Random, lines: list[str]) -> list[str]:
    width, batch = random.choice([2, 3]), 2
    _class(random, lines, width, batch)
    scope = Scope(random, lines, taken={"net", "x", "loss", "step"})
    scope.put("net = Net()")
    scope.put(f"x = torch.randn({batch}, {width})")
    scope.bind(Var("x", (batch, width)))
    by_hand = random.random() < 0.5
    if not by_hand:
        scope.put(f"opt = torch.optim.{random.choice(['SGD', 'Adam', 'AdamW'])}(net.parameters(), lr=0.1)")
    with scope.block("for step in range(2):"):
        scope.put("out = net(x)")
        scope.bind(Var("out", (batch, width)))
        if random.random() < 0.4:
            statement(scope, nested=True)
        scope.put(f"loss = {scope.random.choice(['out.pow(2).mean()', 'out.sum()', '(out - 1).abs().mean()'])}")
        scope.put("net.zero_grad()" if by_hand else "opt.zero_grad()")
        scope.put("loss.backward()")
        if by_hand:
            heads = ("with torch.no_grad():", "for p in net.parameters():", "if p.grad is not None:")
            with scope.block(heads[0]), scope.block(heads[1]), scope.block(heads[2]):
                scope.put(random.choice(["p -= 0.1 * p.grad", "p.add_(p.grad, alpha=-0.1)"]))
        else:
            scope.put("opt.step()")
    scope.put("print(loss.item())")
    return ["net"]


def _scene(random: Random, lines: list[str]) -> list[str]:
    """An idiom of real code with random details, then a few more statements."""
    scope = Scope(random, lines)
    chosen = random.choice(scenes.SCENES)
    leaves = chosen(scope)
    for _ in range(random.choice([0, 0, 1, 2])):
        statement(scope)
    _end(scope, leaves)
    return leaves
