"""Multiple assignments: their values get names first, so that every write is a statement of its own.

`hs[t], cs[t] = cell(x, (hs[t - 1], cs[t - 1]))` takes all of its values before it makes the first write; so names for
them change nothing, whatever the values are.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

import libcst as cst

from gradfix.analysis.facts import Write
from gradfix.analysis.text.builtin_names import builtin, is_other
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text import names
from gradfix.rewrite.text.tree import Tree
from gradfix.source import Source
from gradfix.torch_ops import ViewKind, function, method

_HANDING = frozenset("reversed zip map filter iter list tuple sorted enumerate next".split())
NESTED = Refusal(
    RefusalKind.ORDER,
    "the values of this multiple assignment read the tensor that it writes",
    "assign the values to names first, then write them one after the other",
)


def one_by_one(source: Source, read: Tree, write: Write, clones: Sequence[str] = ()) -> list[str] | Refusal:
    """The statements that the multiple assignment `write` is taken apart into, `clones` between values and writes."""
    node, statement = write.node, read.statement
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(statement, cst.Assign):
        return NESTED
    targets, unpacked = node.targets[0], statement.targets[0]
    if not isinstance(targets, (ast.Tuple, ast.List)) or not isinstance(unpacked.target, (cst.Tuple, cst.List)):
        return NESTED
    if any(isinstance(target, (ast.Tuple, ast.List, ast.Starred)) for target in targets.elts):
        return NESTED
    given = _names_for(source, targets.elts)
    elements = list(unpacked.target.elements)
    pairs = list(zip(elements, given, strict=True))
    named = [e if name is None else e.with_changes(value=cst.Name(name)) for e, name in pairs]
    target = unpacked.with_changes(target=unpacked.target.with_changes(elements=named))
    first = read.code(statement.with_changes(targets=[target]))
    writes = [read.line("{place} = {value}", place=e.value, value=cst.Name(n)) for e, n in pairs if n is not None]
    return [first, *clones, *writes]


def may_show(value: ast.expr) -> bool:
    """Whether one of the values may be a view of what is written, and change with it."""
    if isinstance(value, (ast.Tuple, ast.List)):
        return any(may_show(part) for part in value.elts)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        op = method(value.func.attr) or function(ast.unparse(value.func))
        return op is not None and any(output.view is not ViewKind.NONE for output in op.outputs)
    if isinstance(value, ast.Call):
        return builtin(value.func) in _HANDING or is_other(value.func)
    return not isinstance(value, (ast.BinOp, ast.UnaryOp, ast.Compare, ast.Constant))


def _names_for(source: Source, targets: Sequence[ast.expr]) -> list[str | None]:
    """A new name for each target that is a write; None for a variable that no other target can read."""
    given: list[str | None] = []
    for target in targets:
        if isinstance(target, ast.Name) and not any(_may_read(o, target.id) for o in targets if o is not target):
            given.append(None)
            continue
        root = _root(target)
        wishes = [f"{root}_value", *(f"{root}_value{n}" for n in range(2, len(targets) + 2))]
        given.append(names.fresh(source, *wishes, besides=[name for name in given if name is not None]))
    return given


def _may_read(target: ast.expr, name: str) -> bool:
    """Whether finding the place `target` reads the variable `name`, or calls something that may."""
    return any(isinstance(n, ast.Call) or (isinstance(n, ast.Name) and n.id == name) for n in ast.walk(target))


def _root(target: ast.expr) -> str:
    """`hs` of `hs[t]`, `h` of `self.h[t]`."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else "new"
