"""Numbers that a list gathers for NumPy: `losses.append(loss.item())`, then `torch.tensor(np.mean(losses))`."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import Cut
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.scopes import Parents, parents
from gradfix.rewrite.cuts.named_arrays import Back, Detour, back_again, spoken_of
from gradfix.rewrite.cuts.numpy_twins import function_of, number_behind
from gradfix.rewrite.text import names
from gradfix.source import Source

_TAKING_LISTS = frozenset({"mean", "sum", "array", "asarray"})


def gathered(source: Source, cut: Cut) -> Detour | None:
    """The way of a number through a list that only gathers numbers for NumPy; None where it is used otherwise, too."""
    name = _list_of(cut.statement, cut.node)
    scope = names.scope_of(source, cut.statement)
    if name is None or isinstance(scope, ast.ClassDef) or name in spoken_of(scope):
        return None
    around = parents(names.tree_of(source))
    inside = around.bindings_in(scope)
    stores = inside.stores.get(name, [])
    made = around.of(stores[0]) if len(stores) == 1 else None
    items = _items_of(made)
    if items is None or not isinstance(made, ast.Assign) or len(made.targets) != 1:
        return None
    back: dict[int, Back] = {}
    for node in inside.names.get(name, ()):
        if not isinstance(node.ctx, ast.Load):
            continue
        if tuple(around.up(node))[-1] is not scope:
            return None
        used = _use(around, node)
        if used is None:
            return None
        if isinstance(used, Back):
            back[id(used.call)] = used
        elif isinstance(used, ast.expr):
            items.append(used)
    known = back and all(number_behind(item) is not None for item in items)
    return Detour(tuple(back.values()), gathered=tuple(items), lists=frozenset({name})) if known else None


def _list_of(statement: ast.stmt, number: ast.AST) -> str | None:
    """The list that gets the number: by `append`, or as what a comprehension gives."""
    if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.ListComp):
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) and ast.dump(statement.value.elt) == ast.dump(number) else None
    call = statement.value if isinstance(statement, ast.Expr) else None
    return call.func.value.id if isinstance(call, ast.Call) and _is_append(call) else None  # type: ignore[attr-defined]


def _is_append(call: ast.Call) -> bool:
    function = call.func
    of_name = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
    return of_name and function.attr == "append" and len(call.args) == 1 and not call.keywords  # type: ignore[attr-defined]


def _items_of(made: ast.AST | None) -> list[ast.expr] | None:
    """What a list has from the beginning: nothing, or what a comprehension gives."""
    value = made.value if isinstance(made, ast.Assign) else None
    if isinstance(value, ast.ListComp):
        return [value.elt]
    return [] if isinstance(value, ast.List) and not value.elts else None


def _use(around: Parents, node: ast.Name) -> Back | ast.expr | bool | None:
    """The call that makes a tensor of the list in the end, what it is given, True for its length; None for all else."""
    outer = tuple(around.up(node))
    first, second = outer[0], outer[1] if len(outer) > 1 else None
    if isinstance(first, ast.Attribute) and isinstance(second, ast.Call) and _is_append(second):
        return second.args[0] if isinstance(outer[2], ast.Expr) else None
    if not isinstance(first, ast.Call) or first.args != [node] or first.keywords:
        return None
    if builtin(first.func) == "len":
        return True
    return back_again(outer) if function_of(first) in _TAKING_LISTS else None
