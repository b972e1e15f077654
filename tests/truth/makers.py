"""Statements that make a tensor of another kind: buffers, masks, indices, other dtypes, detached ones."""

from __future__ import annotations

from .scope import Scope, Var, typed


def buffer(scope: Scope) -> None:
    """A tensor without graph."""
    var = scope.pick()
    shape = ", ".join(map(str, var.shape)) if var.shape else "()"
    forms = [f"torch.zeros({shape})", f"torch.ones({shape})", f"torch.zeros_like({var.text})", f"torch.randn({shape})"]
    forms += [f"torch.full(({shape},), 0.5)"] if var.shape else []
    forms += [f"{var.text}.new_zeros({shape})", f"torch.empty_like({var.text}).fill_(1.0)"]
    name = scope.fresh(("buf", "acc", "out", "res"))
    scope.put(f"{name} = {scope.random.choice(forms)}")
    scope.bind(Var(name, var.shape))


def mask(scope: Scope) -> None:
    """A bool or index tensor of its own."""
    pool = [var for var in scope.floats() if var.shape]
    if not pool or scope.chance(0.3):
        name = scope.fresh(("idx", "index"))
        scope.put(f"{name} = torch.tensor({scope.random.choice(['[0, 1]', '[1, 0]', '[0, 2]', '[1, 1]'])})")
        scope.bind(Var(name, (2,), "int"))
        return
    var = scope.pick(pool)
    name = scope.fresh(("mask", "m", "keepers"))
    scope.put(f"{name} = {var.text} {scope.random.choice(['> 0', '< 0.2', '>= 0.5'])}")
    held = scope.bind(Var(name, var.shape, "bool"))
    if scope.chance(0.5):
        uses = [f"torch.where({name}, {var.text}, 0.0)", f"{var.text}.masked_fill({name}, 0.0)", f"{var.text} * {name}"]
        made = scope.fresh()
        scope.put(f"{made} = {scope.random.choice(uses)}")
        scope.bind(Var(made, var.shape))
    if scope.chance(0.3):
        scope.put(f"{held.text}[0] = {scope.random.choice(['True', 'False'])}")


def dtype(scope: Scope) -> None:
    """A name of another floating dtype, or one under autocast."""
    var = scope.pick()
    name = scope.fresh(("d", "wide"))
    if scope.chance(0.5):
        wide = scope.random.choice(["double", "double", "half"])
        scope.put(f"{name} = {var.text}.{wide}() * 2")
        scope.bind(Var(name, var.shape, wide))
    elif len(var.shape) == 2:
        with scope.block("with torch.autocast('cpu', dtype=torch.bfloat16):", keep=True):
            scope.put(f"{name} = {var.text} @ {var.text}.t()")
            if scope.chance(0.5):
                scope.put(f"{name} += 1")
        scope.put(f"{name} = {name}.to({var.text}.dtype)")
        scope.bind(Var(name, (var.shape[0], var.shape[0])))
    else:
        scope.put(f"{name} = torch.zeros_like({var.text}, dtype=torch.float64)")
        scope.bind(Var(name, var.shape, "double"))


def detach(scope: Scope) -> None:
    var = scope.pick()
    name = scope.fresh(("det", "target", "const"))
    forms = ["{v}.detach()", "{v}.detach()", "{v}.detach().clone()", "{v}.data", "{v}.clone().detach()"]
    scope.put(f"{name} = {scope.random.choice(forms).format(v=var.text)}")
    scope.bind(typed(var, text=name, leaf=False))
