"""Constructs of Python and torch beside plain statements: custom functions, layers in a row, generators, loops over
dicts, contexts, hooks, NumPy, unusual views and spellings of writes. Their definitions stand in `definitions`."""

from __future__ import annotations

from .scope import Scope, Var

DEFINITIONS = {
    "Square.apply": """
class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        ctx.save_for_backward(t)
        return t * t

    @staticmethod
    def backward(ctx, grad):
        (t,) = ctx.saved_tensors
        return 2 * t * grad
""",
    "Expo.apply": """
class Expo(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        made = t.exp()
        ctx.save_for_backward(made)
        return made

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]
""",
    "Scale.apply": """
class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t, factor):
        ctx.factor = factor
        return t * factor

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor, None
""",
    "Pair(": """
@dataclasses.dataclass
class Pair:
    first: torch.Tensor
    second: torch.Tensor
""",
    "Scope_(": """
class Scope_:
    def __enter__(self):
        return self

    def __exit__(self, *problem):
        return False
""",
    "@doubled": """
def doubled(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs) * 2

    return wrapper
""",
}
IMPORTS = {
    "np.": "import numpy as np",
    "dataclasses.": "import dataclasses",
    "functools.": "import functools",
    "operator.": "import operator",
}
_LAYERS = (
    "nn.Sigmoid()",
    "nn.Tanh()",
    "nn.Softplus()",
    "nn.Identity()",
    "nn.ReLU(inplace=True)",
    "nn.LeakyReLU(0.1, True)",
    "nn.ELU(inplace=True)",
    "nn.Hardtanh(inplace=True)",
    "nn.SiLU()",
    "nn.GELU()",
    "nn.ReLU()",
)


def imports(text: str) -> list[str]:
    """What a program of that text has to import besides torch."""
    return sorted(
        {line for needle, line in IMPORTS.items() if needle in text}, key=lambda line: line.startswith("from")
    )


def definitions(text: str) -> list[str]:
    """The classes and functions that a program of that text mentions."""
    return [line for needle, body in DEFINITIONS.items() if needle in text for line in (*body.splitlines(), "", "")]


def construct(scope: Scope, var: Var) -> None:
    """One of them, on `var`."""
    forms = [custom, layers, pairs, places, generator, counted, context, running, array, strided, hooked]
    forms += [imaginary, partial, decorated, record, spelled, sliced, product, starred]
    scope.random.choice(forms)(scope, var)


def _new(scope: Scope, text: str, var: Var, *stems: str) -> Var:
    name = scope.fresh(stems or ("y", "h", "z", "s", "q"))
    scope.put(f"{name} = {text}")
    return scope.bind(Var(name, var.shape))


def custom(scope: Scope, var: Var) -> None:
    forms = ("Square.apply({v})", "Expo.apply({v})", "Scale.apply({v}, 3.0)", "Square.apply({v} * 2)")
    _new(scope, scope.random.choice(forms).format(v=var.text), var)


def layers(scope: Scope, var: Var) -> None:
    made = ", ".join(scope.random.choices(_LAYERS, k=scope.random.choice([1, 2, 3])))
    name = scope.fresh(("stack", "acts"))
    scope.put(f"{name} = nn.Sequential({made})")
    argument = var.text if scope.chance(0.5) else f"{var.text} * 2"
    if scope.chance(0.3):
        current = _new(scope, argument, var)
        with scope.block(f"for layer in {name}:"):
            scope.put(f"{current.text} = layer({current.text})")
        return
    _new(scope, f"{name}({argument})", var)


def pairs(scope: Scope, var: Var) -> None:
    """A loop over a dict."""
    name, other = scope.fresh(("states", "parts")), scope.pick()
    scope.put(f"{name} = {{'a': {var.text}, 'b': {other.text}}}")
    if scope.chance(0.5):
        made = scope.fresh(("total", "acc"))
        scope.put(f"{made} = 0.0")
        with scope.block(f"for key, t in {name}.items():"):
            scope.put(f"{made} = {made} + {scope.random.choice(['t.sin()', 't', '(t * t)'])}.sum()")
            scope.put(scope.random.choice([f"{name}[key] = t * 2", f"{name}[key] += 1", "t += 1", "t = t + 1"]))
        scope.bind(Var(made, ()))
    else:
        with scope.block(f"for key in {name}:"):
            scope.put(scope.random.choice([f"{name}[key] = {name}[key].exp()", f"{name}[key].mul_(2)"]))
    scope.bind(Var(f"{name}['a']", var.shape))


def places(scope: Scope, var: Var) -> None:
    """A loop over the places of a list."""
    name = scope.fresh(("held", "hs"))
    scope.put(f"{name} = [{var.text}.sigmoid(), {var.text} * 2, {var.text}.tanh()]")
    head = scope.random.choice([f"for i, t in enumerate({name}):", f"for i in range(len({name})):"])
    with scope.block(head):
        body = [f"{name}[i] += 1", f"{name}[i] = {name}[i] * {name}[i - 1]", f"{name}[i].mul_({name}[0])"]
        scope.put(scope.random.choice(body))
    _new(scope, scope.random.choice([f"sum({name})", f"torch.stack({name}).sum(0)", f"{name}[1]"]), var)


def generator(scope: Scope, var: Var) -> None:
    name, total = scope.fresh(("steps", "powers")), scope.fresh(("total", "acc"))
    with scope.block(f"def {name}(t, n):", keep=True), scope.block("for _ in range(n):", keep=True):
        scope.put(f"t = {scope.random.choice(['t.sin()', 't * 0.5', 'torch.tanh(t)', 't.exp()'])}")
        scope.put("yield t")
    scope.put(f"{total} = 0.0")
    with scope.block(f"for each in {name}({var.text}, 2):"):
        scope.put(f"{total} = {total} + {scope.random.choice(['each.sum()', '(each ** 2).sum()'])}")
        if scope.chance(0.5):
            scope.put(scope.random.choice(["each *= 0.5", "each += 1", "each.zero_()"]))
    scope.bind(Var(total, ()))


def counted(scope: Scope, var: Var) -> None:
    """A `while` loop."""
    made, count = _new(scope, f"{var.text} * 1.0", var), scope.fresh(("n", "it"))
    scope.put(f"{count} = 0")
    with scope.block(scope.random.choice([f"while {count} < 2:", "while True:"])):
        step = scope.random.choice(["{v}.sin()", "{v} * {v}", "{v} + 1", "torch.exp(-{v})"]).format(v=made.text)
        if scope.chance(0.5):
            scope.put(f"{made.text} {scope.random.choice(['+=', '*=', '-='])} {step}")
        else:
            scope.put(f"{made.text} = {step}")
            scope.put(f"{made.text} += 1")
        scope.put(f"{count} += 1")
        with scope.block(f"if {count} >= 2:"):
            scope.put("break")


def context(scope: Scope, var: Var) -> None:
    with scope.block("try:", keep=True), scope.block("with Scope_():", keep=True):
        made = _new(scope, f"{var.text}.{scope.random.choice(['exp()', 'sin()', 'mul(2)'])}", var)
    with scope.block(scope.random.choice(["finally:", "except ValueError:"]), keep=True):
        scope.put(
            f"{var.text} {scope.random.choice(['+= 1', '*= 2', '= ' + var.text + ' + 1'])}" if var.is_name else "pass"
        )
    scope.names.append(made)


def running(scope: Scope, var: Var) -> None:
    """A statistic without graph that is used and updated."""
    name = scope.fresh(("mean", "ema"))
    scope.put(f"{name} = torch.ones_like({var.text}).detach()")
    uses = [f"{var.text} * {name}", f"{var.text} - {name}", f"{var.text} / ({name} + 1)"]
    updates = [f"{name}.mul_(0.9).add_({var.text}.detach(), alpha=0.1)", f"{name} += {var.text}.detach() ** 2"]
    order = [lambda: _new(scope, scope.random.choice(uses), var), lambda: scope.put(scope.random.choice(updates))]
    for part in order if scope.chance(0.5) else reversed(order):
        part()


def array(scope: Scope, var: Var) -> None:
    """A detour through NumPy, of copies mostly: what shares memory is written unseen."""
    name = scope.fresh(("arr", "values"))
    shared = "" if scope.chance(0.3) else ".copy()"
    scope.put(f"{name} = {var.text}.detach().float().numpy(){shared}")
    if shared and var.shape:
        scope.put(f"{name}[0] = 0.5")
    _new(scope, f"{var.text} * torch.from_numpy(np.asarray(np.abs({name}))).to({var.text}.dtype)", var)


def strided(scope: Scope, var: Var) -> None:
    if not var.shape or len(var.shape) > 1 or var.shape[0] < 3:
        custom(scope, var)
        return
    forms = ["torch.as_strided({v}, (2,), (1,))", "{v}.unfold(0, 2, 1)[0]", "{v}.tensor_split(2)[0]", "{v}.chunk(2)[0]"]
    name = scope.fresh(("w2", "window"))
    scope.put(f"{name} = {scope.random.choice(forms).format(v=var.text)}")
    scope.bind(Var(name, (2,)))
    if scope.chance(0.5):
        scope.put(f"{name} {scope.random.choice(['+= 1', '*= 2'])}")


def hooked(scope: Scope, var: Var) -> None:
    """A hook, or a gradient that is kept."""
    made = _new(scope, f"{var.text} * {scope.random.choice(['2', '0.5'])}", var)
    asked = scope.random.choice(["register_hook(lambda g: g * 2)", "retain_grad()"])
    scope.put(f"if {made.text}.requires_grad: {made.text}.{asked}")


def imaginary(scope: Scope, var: Var) -> None:
    name = scope.fresh(("c", "wave"))
    scope.put(f"{name} = torch.complex({var.text}.float(), ({var.text} * 2).float())")
    if scope.chance(0.6):
        writes = ["{c} *= 1j", "{c}.real.mul_(2)", "{c} += {c}.conj()", "torch.view_as_real({c})[..., 0] += 1"]
        scope.put(scope.random.choice(writes).format(c=name))
    _new(scope, f"{name}.{scope.random.choice(['abs()', 'real', 'imag', 'angle()'])}.to({var.text}.dtype)", var)


def partial(scope: Scope, var: Var) -> None:
    name = scope.fresh(("act", "fn"))
    made = scope.random.choice(["F.relu, inplace=True", "F.leaky_relu, negative_slope=0.2", "torch.add, other=1.0"])
    scope.put(f"{name} = functools.partial({made})")
    _new(scope, f"{name}({var.text})", var)


def decorated(scope: Scope, var: Var) -> None:
    name = scope.fresh(("squash", "gate"))
    scope.put("@doubled")
    with scope.block(f"def {name}(t, shift=1.0):", keep=True):
        scope.put(f"t = {scope.random.choice(['t.sigmoid()', 't * 3', 't.cos()'])}")
        scope.put(scope.random.choice(["t += shift", "t = t + shift", "t[...] = t + shift"]))
        scope.put("return t")
    _new(scope, f"{name}({var.text}{scope.random.choice(['', ', shift=0.5'])})", var)


def record(scope: Scope, var: Var) -> None:
    name = scope.fresh(("pair", "state"))
    scope.put(f"{name} = Pair({var.text} * 2, {var.text}.sigmoid())")
    field = scope.random.choice(["first", "second"])
    made = _new(scope, f"{name}.{field} * {name}.first", var)
    scope.put(scope.random.choice([f"{name}.{field} += 1", f"{name}.{field} = {name}.{field} + 1"]))
    scope.bind(Var(f"{name}.{field}", var.shape))
    scope.names.append(made)


def spelled(scope: Scope, var: Var) -> None:
    """Unusual spellings of a write."""
    forms = [
        "torch.Tensor.add_({v}, 1)",
        "getattr({v}, 'mul_')(2)",
        "{v}.__iadd__(1)",
        "torch._foreach_add_([{v}], 1.0)",
    ]
    forms += ["{v}.__setitem__(0, 0.5)", "torch.add({v}.detach(), 1, out={v}.data)"] if var.shape else []
    forms += ["operator.iadd({v}, 1)", "torch.Tensor.mul_({v}, {v}.detach() + 1)"]
    scope.put(scope.random.choice(forms).format(v=var.text))


def sliced(scope: Scope, var: Var) -> None:
    if not var.shape:
        custom(scope, var)
        return
    name = scope.fresh(("at", "where"))
    scope.put(
        f"{name} = {scope.random.choice(['slice(0, 1)', '(0,)', '(slice(None), ...)', '[0, 1]', 'slice(1, None)'])}"
    )
    scope.put(f"{var.text}[{name}] {scope.random.choice(['= 0.5', '+= 1', '*= 2'])}")


_SCALAR = ("F.mse_loss({v}, {v} * 2)", "({v} * {v})", "F.smooth_l1_loss({v}, {v}.detach() + 1)")
_PRODUCTS = (
    "torch.einsum('...i,...i->', {v}, {v})",
    "(F.normalize({v}, dim=-1) * {v}).sum()",
    "torch.linalg.vector_norm({v})",
    "F.mse_loss({v}, {v} * 2)",
)
_OF_VECTORS = (
    "torch.outer({v}, {v}).sum()",
    "torch.dot({v}, {v})",
    "({v} @ {v})",
    "torch.conv1d({v}[None, None], {v}[None, None]).sum()",
    "torch.cdist({v}[None], {v}[None] + 1).sum()",
)
_OF_MATRICES = (
    "({v}.t() @ {v}).sum()",
    "torch.bmm({v}[None], {v}.t()[None]).sum()",
    "torch.matmul({v}, {v}.t()).trace()",
)


def product(scope: Scope, var: Var) -> None:
    """To a number, by products and losses."""
    by_rank = {0: _SCALAR, 1: (*_PRODUCTS, *_OF_VECTORS), 2: (*_PRODUCTS, *_OF_MATRICES)}
    name = scope.fresh(("energy", "cost"))
    scope.put(f"{name} = {scope.random.choice(by_rank.get(len(var.shape), _PRODUCTS)).format(v=var.text)}")
    scope.bind(Var(name, ()))


def starred(scope: Scope, var: Var) -> None:
    name, other = scope.fresh(("mixed", "both_")), scope.pick()
    with scope.block(f"def {name}(*parts, **options):", keep=True):
        scope.put("first, *rest = parts")
        scope.put(scope.random.choice(["first = first.exp()", "first = first * 2", "kept = first.sin()"]))
        with scope.block("if options.get('shift'):", keep=True):
            scope.put("first += 1")
        scope.put("return first")
    _new(scope, f"{name}({var.text}, {other.text}{scope.random.choice(['', ', shift=True'])})", var)
