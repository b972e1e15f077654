"""Writes in place, of every form that Python and torch offer."""

from __future__ import annotations

from dataclasses import dataclass

from .scope import Scope, Shape, Var
from .vocabulary import AUGMENTED, FUNCTIONS, METHODS, METHODS_WITH_VALUE


@dataclass(frozen=True, slots=True)
class Index:
    """What stands between the brackets and what it selects; a mask selects as many as the data says."""

    text: str
    shape: Shape | None  # None: depends on the data
    advanced: bool = False


def write(scope: Scope, var: Var) -> None:
    """One statement, or one block, that writes to `var`."""
    kinds = ["index"] * 5 + ["augmented"] * 5 + ["method"] * 4 + ["function"] * 3 + ["augmented-index"] * 3
    kinds += ["chain", "through-view", "data", "no-grad", "tuple", "kept", "nested-index", "loop", "detached"]
    kind = scope.random.choice(kinds)
    if not var.shape and kind in ("index", "augmented-index", "through-view", "tuple", "nested-index", "loop"):
        kind = "augmented"
    {
        "index": index_write,
        "augmented": augmented,
        "method": method,
        "function": function,
        "augmented-index": augmented_index,
        "chain": chain,
        "through-view": through_view,
        "data": data,
        "no-grad": no_grad,
        "tuple": tuple_write,
        "kept": kept,
        "nested-index": nested_index,
        "loop": loop_write,
        "detached": detached,
    }[kind](scope, var)


def index(scope: Scope, var: Var) -> Index:
    """An index of a tensor with at least one dimension."""
    size, rest = var.shape[0], var.shape[1:]
    place = scope.random.randrange(size)
    forms = [
        Index(str(place), rest),
        Index(str(place), rest),
        Index(str(-1 - place), rest),
        Index("1:", (size - 1, *rest)),
        Index(":2", (min(2, size), *rest)),
        Index("::2", ((size + 1) // 2, *rest)),
        Index(":", var.shape),
        Index("...", var.shape),
        Index(f"..., {var.shape[-1] - 1}", var.shape[:-1]),
        Index("torch.tensor([0, 1])", (2, *rest), advanced=True),
        Index("[0, 1]", (2, *rest), advanced=True),
        Index(f"torch.tensor({place})", rest),
    ]
    mask = scope.mask(var.shape)
    if mask is not None:
        forms += [Index(mask, None, advanced=True)] * 4
    if scope.indices and size >= 3:
        forms += [Index(scope.random.choice(scope.indices), rest)] * 4
    if len(var.shape) >= 2:
        column = scope.random.randrange(var.shape[1])
        forms += [
            Index(f"{place}, {column}", var.shape[2:]),
            Index(f":, {column}", (size, *var.shape[2:])),
            Index(f":, {column}", (size, *var.shape[2:])),
            Index(f"{place}, 1:", (var.shape[1] - 1, *var.shape[2:])),
            Index("torch.tensor([0, 1]), torch.tensor([1, 0])", (2, *var.shape[2:]), advanced=True),
        ]
        row = scope.mask((size,))
        if row is not None:
            forms.append(Index(row, None, advanced=True))
    counters = [v for v in scope.names if v.dtype == "int" and len(v.shape) == 1]
    if counters and size >= 3:
        chosen = scope.random.choice(counters)
        forms += [Index(chosen.text, (*chosen.shape, *rest), advanced=True)] * 3
    return scope.random.choice(forms)


def value(scope: Scope, var: Var, at: Index) -> str:
    """A right-hand side that fits `var[at]`."""
    if at.shape is None:
        same = [v for v in scope.floats() if v.shape == var.shape and v.dtype == var.dtype]
        if same and scope.chance(0.4):
            other = scope.pick(same)
            return f"{other.text}[{at.text}]" + scope.random.choice(["", " * 2", ".exp()", " + 1"])
        return scope.number()
    roll = scope.random.random()
    if roll < 0.35:
        return scope.number()
    if roll < 0.45 and var.dtype == "float":
        return f"{var.text}[{at.text}]" + scope.random.choice([" * 2", ".sin()", " + 1", " ** 2"])
    if roll < 0.5 and not at.advanced and at.shape:
        return scope.expr((1, *at.shape), 0).text if scope.chance(0.2) else scope.expr(at.shape[1:], 1).text
    if at.advanced and var.dtype != "float":
        return scope.number()
    return scope.expr(at.shape, 1).text


def index_write(scope: Scope, var: Var) -> None:
    at = index(scope, var)
    scope.put(f"{var.text}[{at.text}] = {value(scope, var, at)}")


def augmented_index(scope: Scope, var: Var) -> None:
    at = index(scope, var)
    if at.shape is None:
        right = scope.random.choice(["2.0", "1", "0.5"])
    else:
        right = scope.random.choice(["1", "0.5", "2"]) if scope.chance(0.4) else scope.expr(at.shape, 1).operand
    if at.advanced and var.dtype != "float":
        right = "2.0"
    scope.put(f"{var.text}[{at.text}] {_operator(scope, right)}")


def augmented(scope: Scope, var: Var) -> None:
    if scope.chance(0.08):
        scope.put(f"{var.text} **= 2")
        return
    if scope.chance(0.4):
        right = scope.random.choice(["1", "0.5", "2.0"])
    elif var.shape and scope.chance(0.25):
        right = scope.expr(var.shape[1:], 1).operand
    else:
        right = scope.expr(var.shape, 1).operand
    scope.put(f"{var.text} {_operator(scope, right)}")


def method(scope: Scope, var: Var) -> None:
    scope.put(f"{var.text}.{_call(scope, var)}")


def chain(scope: Scope, var: Var) -> None:
    links = scope.random.sample(["mul_(2)", "add_(1)", "exp_()", "sigmoid_()", "clamp_(min=0)", "neg_()", "tanh_()"], 2)
    scope.put(f"{var.text}.{'.'.join(links)}")


def through_view(scope: Scope, var: Var) -> None:
    views = ["view(-1)", "flatten()", "unsqueeze(0)", "reshape(-1)", f"narrow(0, 0, {min(2, var.shape[0])})"]
    views += ["select(0, 0)", "detach()"] if scope.chance(0.3) else ["select(0, 0)"]
    if len(var.shape) == 2:
        views += ["t()", "transpose(0, 1)", "diagonal()"]
    act = scope.random.choice(["mul_(2)", "add_(1)", "exp_()", "zero_()", "fill_(0.5)"])
    if scope.chance(0.3):
        scope.put(f"{var.text}[0].{act}")
    else:
        scope.put(f"{var.text}.{scope.random.choice(views)}.{act}")


def function(scope: Scope, var: Var) -> None:
    scope.put(scope.random.choice(FUNCTIONS).format(t=var.text))


def kept(scope: Scope, var: Var) -> None:
    """The result of the writing call is kept, as a name or as the same name."""
    if scope.chance(0.5):
        call = scope.random.choice(FUNCTIONS[:-1]).format(t=var.text)
    else:
        call = f"{var.text}.{_call(scope, var)}"
    if scope.chance(0.4) and var.is_name:
        scope.put(f"{var.text} = {call}")
        return
    name = scope.fresh()
    scope.put(f"{name} = {call}")
    scope.bind(Var(name, var.shape, var.dtype))


def data(scope: Scope, var: Var) -> None:
    forms = ["{v}.data.mul_(2)", "{v}.data.clamp_(min=0)", "{v}.data *= 0.5"]
    if var.shape:
        forms += ["{v}.data[0] = 0.5", "{v}.data[0] += 1"]
    scope.put(scope.random.choice(forms).format(v=var.text))


def detached(scope: Scope, var: Var) -> None:
    scope.put(f"{var.text}.detach().{scope.random.choice(['mul_(2)', 'add_(1)', 'zero_()'])}")


def no_grad(scope: Scope, var: Var) -> None:
    with scope.block("with torch.no_grad():"):
        scope.random.choice([augmented, method, index_write if var.shape else augmented])(scope, var)


def tuple_write(scope: Scope, var: Var) -> None:
    if scope.chance(0.5):
        scope.put(f"{var.text}[0], {var.text}[1] = {var.text}[1], {var.text}[0]")
        return
    first, second = scope.expr(var.shape[1:], 1).text, scope.number()
    scope.put(f"{var.text}[0], {var.text}[1] = {first}, {second}")


def nested_index(scope: Scope, var: Var) -> None:
    inner = scope.random.choice(["0", "1:", ":2", "..."])
    after = var.shape[1:] if inner == "0" else var.shape
    if not after:
        inner = ":"
    scope.put(f"{var.text}[{inner}][0] = {scope.number()}")


def loop_write(scope: Scope, var: Var) -> None:
    counter = scope.fresh(("i", "j", "k", "t"))
    size = var.shape[0]
    with scope.block(f"for {counter} in range({scope.random.choice([size, size, size - 1])}):"):
        scope.indices.append(counter)
        others = [v for v in scope.floats() if v.shape == var.shape and v.text != var.text]
        right = scope.random.choice(
            [
                f"{scope.pick(others).text}[{counter}] * 2" if others else "0.5",
                f"{var.text}[{counter}] * 0.5",
                f"{var.text}[{counter} - 1] + 1",
                f"torch.sin({var.text}[{counter}])",
                scope.number(),
            ]
        )
        operator = scope.random.choice(["=", "=", "+=", "*="])
        scope.put(f"{var.text}[{counter}] {operator} {right}")
        scope.indices.pop()


def _call(scope: Scope, var: Var) -> str:
    if scope.chance(0.4):
        template = scope.random.choice(METHODS_WITH_VALUE)
        wide = bool(var.shape) and scope.chance(0.2) and "lerp" not in template and "max" not in template
        operand = scope.expr(var.shape[1:] if wide else var.shape, 1)
        return template.format(v=operand.operand)
    fits = [m for m, positive, rank in METHODS if rank <= len(var.shape) and (var.positive or not positive)]
    return scope.random.choice(fits)


def _operator(scope: Scope, right: str) -> str:
    operator = scope.random.choice(AUGMENTED)
    if operator == "/=" and not right[0].isdigit():
        return f"/= {right}.abs() + 1"
    return f"{operator} {right}"
