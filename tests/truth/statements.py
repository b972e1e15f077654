"""Statements: computing, viewing, aliasing, branching, looping, calling; each leaves the scope's names true."""

from __future__ import annotations

from collections.abc import Callable

from . import constructs, makers, syntax, writes
from .scope import Expr, Helper, Scope, Shape, Var, typed
from .vocabulary import SAME_VIEWS

WEIGHTS = {
    "compute": 9,
    "write": 7,
    "fresh-write": 4,
    "saved-write": 4,
    "view": 3,
    "alias": 2,
    "container": 2,
    "attribute": 1,
    "multi-view": 1,
    "branch": 2,
    "loop": 2,
    "grad-mode": 1,
    "detach": 1,
    "call": 3,
    "rebind": 2,
    "buffer": 1,
    "mask": 1,
    "dtype": 1,
    "leaf-write": 1,
    "unusual": 3,
    "construct": 8,
}
NESTED = {"compute", "write", "fresh-write", "saved-write", "view", "call", "rebind", "mask"}


def statement(scope: Scope, *, nested: bool = False) -> None:
    """One more statement; `nested` ones hold no further blocks of their own kind."""
    kinds = [kind for kind in WEIGHTS if not nested or kind in NESTED]
    kind = scope.random.choices(kinds, [WEIGHTS[k] for k in kinds])[0]
    makers_of: dict[str, Callable[[Scope], object]] = {
        "compute": compute,
        "write": lambda s: writes.write(s, target(s)),
        "fresh-write": fresh_write,
        "saved-write": saved_write,
        "view": view,
        "alias": alias,
        "container": container,
        "attribute": attribute,
        "multi-view": multi_view,
        "branch": branch,
        "loop": loop,
        "grad-mode": grad_mode,
        "detach": makers.detach,
        "call": call,
        "rebind": rebind,
        "buffer": makers.buffer,
        "mask": makers.mask,
        "dtype": makers.dtype,
        "leaf-write": leaf_write,
        "unusual": lambda s: syntax.unusual(s, target(s)),
        "construct": lambda s: constructs.construct(s, target(s)),
    }
    makers_of[kind](scope)


def target(scope: Scope) -> Var:
    """What to write: rarely a leaf."""
    pool = [var for var in scope.floats() if not var.leaf]
    return scope.pick(pool) if pool else compute(scope)


def compute(scope: Scope) -> Var:
    """A new name."""
    operand = scope.pick()
    positive = False
    roll = scope.random.random()
    if roll < 0.5:
        made, positive = scope.unary_op(operand)
        shape = operand.shape
    elif roll < 0.85:
        shape = operand.shape
        made = scope.binary(shape, 0)
    else:
        shape = scope.random.choice([v.shape for v in scope.floats()] + [()])
        made = scope.expr(shape, 2)
    return scope.bind(Var(_name(scope, made), shape, positive=positive))


def _name(scope: Scope, made: Expr) -> str:
    name = scope.fresh()
    scope.put(f"{name} = {made.text}")
    return name


def rebind(scope: Scope) -> None:
    """The name gets another tensor; aliases keep the old one."""
    pool = [var for var in scope.floats() if var.is_name and not var.leaf]
    if not pool:
        compute(scope)
        return
    var = scope.pick(pool)
    made, positive = scope.unary_op(var) if scope.chance(0.6) else (scope.binary(var.shape, 0), False)
    scope.put(f"{var.text} = {made.text}")
    scope.bind(Var(var.text, var.shape, positive=positive))


def fresh_write(scope: Scope) -> None:
    """A write to something made just before: mostly harmless unless its maker keeps the result."""
    writes.write(scope, compute(scope))


def saved_write(scope: Scope) -> None:
    """An op takes a value that is written afterwards."""
    var = target(scope)
    made, positive = scope.unary_op(var) if scope.chance(0.5) else (scope.binary(var.shape, 0), False)
    scope.bind(Var(_name(scope, made), var.shape, positive=positive))
    writes.write(scope, var)


def leaf_write(scope: Scope) -> None:
    leaves = [var for var in scope.floats() if var.leaf]
    if not leaves:
        compute(scope)
        return
    var = scope.pick(leaves)
    if scope.chance(0.5):
        writes.no_grad(scope, var)
    else:
        writes.write(scope, var)


def view(scope: Scope) -> None:
    pool = [var for var in scope.floats() if var.shape]
    if not pool:
        compute(scope)
        return
    var = scope.pick(pool)
    text, shape = _view(scope, var)
    name = scope.fresh(("v", "row", "part", "w2", "flat"))
    scope.put(f"{name} = {text}")
    scope.bind(Var(name, shape, var.dtype, var.positive))


def _view(scope: Scope, var: Var) -> tuple[str, Shape]:
    size, rest = var.shape[0], var.shape[1:]
    count = 1
    for length in var.shape:
        count *= length
    shape = ", ".join(map(str, var.shape))
    forms: list[tuple[str, Shape]] = [
        (f"{var.text}[0]", rest),
        (f"{var.text}[{size - 1}]", rest),
        (f"{var.text}[1:]", (size - 1, *rest)),
        (f"{var.text}[:2]", (min(2, size), *rest)),
        (f"{var.text}.view(-1)", (count,)),
        (f"{var.text}.reshape(-1)", (count,)),
        (f"{var.text}.flatten()", (count,)),
        (f"{var.text}.unsqueeze(0)", (1, *var.shape)),
        (f"{var.text}.unsqueeze(0).squeeze(0)", var.shape),
        (f"{var.text}.narrow(0, 0, 1)", (1, *rest)),
        (f"{var.text}.select(0, 1)", rest),
        (f"torch.select({var.text}, 0, 0)", rest),
        (f"{var.text}[None]", (1, *var.shape)),
        (scope.random.choice(SAME_VIEWS).format(a=var.text, shape=shape), var.shape),
        (f"{var.text}.float()", var.shape),
        (f"{var.text}.to({var.text}.dtype)", var.shape),
    ]
    if scope.chance(0.1):
        forms.append((f"{var.text}.expand(2, {shape})", (2, *var.shape)))
    if len(var.shape) == 2:
        turned = (var.shape[1], var.shape[0])
        forms += [
            (f"{var.text}.t()", turned),
            (f"{var.text}.T", turned),
            (f"{var.text}.transpose(0, 1)", turned),
            (f"{var.text}.permute(1, 0)", turned),
            (f"{var.text}.diagonal()", (min(var.shape),)),
            (f"torch.diagonal({var.text})", (min(var.shape),)),
            (f"{var.text}[:, 0]", (size,)),
            (f"{var.text}[:, 1:]", (size, var.shape[1] - 1)),
            (f"{var.text}[..., 0]", (size,)),
        ]
    if var.shape == (4,):
        forms += [(f"{var.text}.view(2, 2)", (2, 2))]
    return scope.random.choice(forms)


def multi_view(scope: Scope) -> None:
    pool = [var for var in scope.floats() if var.shape and 2 <= var.shape[0] <= 3]
    if not pool:
        compute(scope)
        return
    var = scope.pick(pool)
    rest = var.shape[1:]
    if scope.chance(0.25):
        item = scope.fresh(("row", "r", "item"))
        with scope.block(f"for {item} in {var.text}:"):
            scope.bind(Var(item, rest))
            if scope.chance(0.7):
                writes.write(scope, Var(item, rest))
            else:
                statement(scope, nested=True)
            scope.forget(item)
        return
    forms = [("{v}.unbind(0)", rest), ("{v}", rest), ("torch.unbind({v})", rest), ("{v}.split(1)", (1, *rest))]
    forms += [
        ("{v}.chunk({n})", (1, *rest)),
        ("torch.split({v}, 1)", (1, *rest)),
        ("{v}.tensor_split({n})", (1, *rest)),
    ]
    text, shape = scope.random.choice(forms)
    made = text.format(v=var.text, n=var.shape[0])
    if scope.chance(0.3):
        name = scope.fresh(("parts", "rows"))
        scope.put(f"{name} = {made}")
        for place in range(2):
            scope.bind(Var(f"{name}[{place}]", shape))
        return
    names = [scope.fresh(("a", "b", "p", "q")) for _ in range(var.shape[0])]
    scope.put(f"{', '.join(names)} = {made}")
    for name in names:
        scope.bind(Var(name, shape))


def alias(scope: Scope) -> None:
    var = scope.pick()
    name = scope.fresh(("z", "old", "keep", "c"))
    scope.put(f"{name} = {var.text}")
    scope.bind(typed(var, text=name))


def container(scope: Scope) -> None:
    """A list or a dict that holds tensors, by name or fresh."""
    var = scope.pick()
    if scope.chance(0.5):
        name = scope.fresh(("cache", "store"))
        key = scope.random.choice(["'h'", "'out'", '"k"'])
        held = Var(f"{name}[{key}]", var.shape, var.dtype, var.positive)
        scope.put(f"{name} = {{{key}: {_held(scope, var)}}}")
    elif scope.chance(0.5):
        name = scope.fresh(("items", "outs"))
        held = Var(f"{name}[0]", var.shape, var.dtype, var.positive)
        scope.put(f"{name} = [{_held(scope, var)}]")
    else:
        name = scope.fresh(("items", "outs"))
        held = Var(f"{name}[-1]", var.shape, var.dtype, var.positive)
        scope.put(f"{name} = []")
        scope.put(f"{name}.append({_held(scope, var)})")
    scope.bind(held)


def attribute(scope: Scope) -> None:
    """An attribute of a small object, the class of which every program that needs it defines."""
    var = scope.pick()
    name = scope.fresh(("st", "state"))
    scope.put(f"{name} = State()")
    scope.put(f"{name}.h = {_held(scope, var)}")
    scope.bind(Var(f"{name}.h", var.shape, var.dtype, var.positive))


def _held(scope: Scope, var: Var) -> str:
    return var.text if scope.chance(0.5) else scope.unary(var, len(var.shape)).text


def grad_mode(scope: Scope) -> None:
    head = scope.random.choice(["with torch.no_grad():"] * 4 + ["with torch.enable_grad():"])
    with scope.block(head, keep=True):
        for _ in range(scope.random.choice([1, 1, 2])):
            statement(scope, nested=True)


def branch(scope: Scope) -> None:
    roll = scope.random.random()
    if roll < 0.6:
        test = scope.condition()
    elif roll < 0.8:
        test = "random.random() < 0.5"
    else:
        test = scope.random.choice(["MODE == 'train'", "FLAG", "not FLAG"])
    with scope.block(f"if {test}:"):
        for _ in range(scope.random.choice([1, 1, 2])):
            statement(scope, nested=True)
    if scope.chance(0.35):
        with scope.block("else:"):
            statement(scope, nested=True)


def loop(scope: Scope) -> None:
    """A state carried over iterations, by rebinding or by writing."""
    pool = [var for var in scope.floats() if var.is_name and not var.leaf]
    state = scope.pick(pool) if pool else compute(scope)
    counter = scope.fresh(("i", "t", "step"))
    if scope.chance(0.2):
        scope.put(f"{counter} = 0")
        head, size = f"while {counter} < 2:", None
    else:
        size = scope.random.choice([2, 3])
        head = f"for {counter} in range({size}):"
    collected = scope.fresh(("outs", "hist")) if scope.chance(0.3) else None
    if collected:
        scope.put(f"{collected} = []")
    with scope.block(head):
        if size is not None:
            scope.indices.append(counter)
        for _ in range(scope.random.choice([1, 2, 2])):
            if scope.chance(0.4):
                scope.put(f"{state.text} = {_step(scope, state)}")
            elif scope.chance(0.5):
                writes.write(scope, state)
            else:
                statement(scope, nested=True)
        if collected:
            scope.put(f"{collected}.append({state.text}{scope.random.choice(['', '', '.clone()', ' * 2'])})")
        if size is None:
            scope.put(f"{counter} += 1")
        else:
            scope.indices.pop()
    if collected:
        name = scope.fresh()
        scope.put(f"{name} = sum({collected})")
        scope.bind(Var(name, state.shape))


def _step(scope: Scope, state: Var) -> str:
    return scope.binary(state.shape, 0).text if scope.chance(0.4) else scope.unary(state, len(state.shape)).text


def call(scope: Scope) -> None:
    fits = [(h, v) for h in scope.helpers for v in scope.floats() if v.shape == h.shape]
    if not fits:
        compute(scope)
        return
    helper, var = scope.random.choice(fits)
    text = f"{helper.name}({', '.join(_argument(scope, helper, var) for _ in range(helper.arguments))})"
    if helper.result is None:
        scope.put(text)
        return
    if scope.chance(0.15):
        scope.put(text)
        return
    name = (
        var.text
        if var.is_name and not var.leaf and helper.result == var.shape and scope.chance(0.25)
        else scope.fresh()
    )
    scope.put(f"{name} = {text}")
    scope.bind(Var(name, helper.result))


def _argument(scope: Scope, helper: Helper, var: Var) -> str:
    same = [v for v in scope.floats() if v.shape == helper.shape]
    return var.text if scope.chance(0.6) else scope.pick(same).text
