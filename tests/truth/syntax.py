"""The same writes in the less usual places of Python: one-liners, chained and tuple targets, closures, lambdas, loops
over names, comprehensions, `try`, walrus, comments inside brackets."""

from __future__ import annotations

from . import writes
from .scope import Scope, Var


def unusual(scope: Scope, var: Var) -> None:
    """One of them, on `var`."""
    forms = [one_line_if, semicolon, bracketed, annotated, closure, called_lambda, over_names, comprehension, guarded]
    forms += [chained, mixed_tuple, walrus] if var.shape else []
    scope.random.choice(forms)(scope, var)


def one_line_if(scope: Scope, var: Var) -> None:
    scope.put(f"if {scope.condition()}: {_simple(scope, var)}")


def semicolon(scope: Scope, var: Var) -> None:
    name = scope.fresh()
    scope.put(f"{_simple(scope, var)}; {name} = {var.text} * 2")
    scope.bind(Var(name, var.shape))


def bracketed(scope: Scope, var: Var) -> None:
    target = f"{var.text}[0]" if var.shape else var.text
    shape = var.shape[1:] if var.shape else ()
    operator = "=" if var.shape and scope.chance(0.5) else "+="
    scope.put(f"{target} {operator} (  # the first")
    scope.put(f"    {scope.expr(shape, 1).operand}")
    scope.put(f"    + {scope.expr(shape, 0).operand}  # and more")
    scope.put(")")


def annotated(scope: Scope, var: Var) -> None:
    name = scope.fresh()
    made, positive = scope.unary_op(var)
    scope.put(f"{name}: torch.Tensor = {made.text}")
    writes.write(scope, scope.bind(Var(name, var.shape, positive=positive)))


def closure(scope: Scope, var: Var) -> None:
    """An inner function that writes a name of the outer one."""
    if not var.is_name:
        scope.put(_simple(scope, var))
        return
    name = scope.fresh(("inner", "bump", "step_"))
    with scope.block(f"def {name}():", keep=True):
        if scope.in_function and scope.chance(0.3):
            scope.put(f"nonlocal {var.text}")
            scope.put(f"{var.text} += 1")
        else:
            first = "[0]" if var.shape else ""
            scope.put(f"{var.text}{first}.{scope.random.choice(['mul_(2)', 'add_(1)', 'exp_()', 'zero_()'])}")
    scope.put(f"{name}()")


def called_lambda(scope: Scope, var: Var) -> None:
    name = scope.fresh(("apply_", "act_"))
    scope.put(f"{name} = lambda t: t.{scope.random.choice(['mul_(2)', 'sigmoid_()', 'add_(1)', 'sin()'])}")
    made = scope.fresh()
    scope.put(f"{made} = {name}({var.text})")
    scope.bind(Var(made, var.shape))


def over_names(scope: Scope, var: Var) -> None:
    other = scope.pick()
    item = scope.fresh(("t", "each"))
    with scope.block(f"for {item} in {scope.random.choice(['[{}, {}]', '({}, {})']).format(var.text, other.text)}:"):
        scope.put(f"{item} {scope.random.choice(['+= 1', '*= 0.5'])}" if scope.chance(0.5) else f"{item}.mul_(2)")


def comprehension(scope: Scope, var: Var) -> None:
    name = scope.fresh(("made", "both"))
    act = scope.random.choice(["mul_(2)", "sin()", "sigmoid_()"])
    scope.put(f"{name} = [t.{act} for t in ({var.text}, {scope.pick().text})]")
    scope.bind(Var(f"{name}[0]", var.shape))


def guarded(scope: Scope, var: Var) -> None:
    with scope.block("try:", keep=True):
        scope.put(_simple(scope, var))
    with scope.block("finally:", keep=True):
        name = scope.fresh()
        scope.put(f"{name} = {var.text} + 1")
        scope.bind(Var(name, var.shape))


def chained(scope: Scope, var: Var) -> None:
    if scope.chance(0.5):
        scope.put(f"{var.text}[0] = {var.text}[1] = {scope.number()}")
        return
    name = scope.fresh()
    scope.put(f"{name} = {var.text}[0] = {scope.expr(var.shape[1:], 1).text}")
    scope.bind(Var(name, var.shape[1:]))


def mixed_tuple(scope: Scope, var: Var) -> None:
    name = scope.fresh()
    scope.put(f"{var.text}[0], {name} = {scope.expr(var.shape[1:], 1).text}, {var.text} * 2")
    scope.bind(Var(name, var.shape))


def walrus(scope: Scope, var: Var) -> None:
    name = scope.fresh()
    scope.put(f"({name} := {var.text} * 2)[0] = {scope.number()}")
    scope.bind(Var(name, var.shape))


def _simple(scope: Scope, var: Var) -> str:
    """A write on one line."""
    if not var.shape or scope.chance(0.5):
        return f"{var.text} {scope.random.choice(['+= 1', '*= 2', '-= 0.5'])}"
    at = writes.index(scope, var)
    return f"{var.text}[{at.text}] = {writes.value(scope, var, at)}"
