"""The verb `connect_way`: what one way out of a function returns without a graph gets the one of its operands.

The sum of no elements is zero whatever the tensor holds, also infinities and NaN, and its gradient is zero: added to a
constant it changes nothing but the graph. Only `-0.0` would become `0.0`, so other values go through `torch.where`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import partial

from gradfix.analysis.facts import Spelling, TensorFacts
from gradfix.analysis.way_facts import BareWay, Operand
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.branches.anchoring import kept_by_where
from gradfix.rewrite.grounds.dtypes import is_floating, is_integer, is_real
from gradfix.rewrite.text import names, pieces, sites
from gradfix.rewrite.text.expressions import is_literal_number, is_torch_call, short
from gradfix.source import Source

_ZEROS = frozenset({"zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones"})
_SIMPLE = (ast.Return, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)
_UNKNOWN = TensorFacts()  # of the leaves the dtype may be wider, or complex, and the device another one
_OF_NUMBERS = frozenset({"tensor", "new_tensor"})


def connect_way(source: Source, way: BareWay, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """The value returned as it is, connected to the operands of the other ways with a gradient of zero."""
    if not way.records:
        return Refusal(
            RefusalKind.NO_FORM,
            f"grad mode is off where `{short(source, way.node)}` is computed",
            "compute it where autograd records",
        )
    if not way.operands:
        return Refusal(
            RefusalKind.UNKNOWN,
            "no name in scope here holds what the other ways compute their result from",
            "return a result computed from a tensor that requires grad: `x[:0].sum()` is a zero with a graph",
        )
    if is_integer(way.tensor.dtype):
        return Refusal(RefusalKind.NO_FORM, "integers carry no gradient", "return a floating tensor")
    if any(isinstance(node, ast.keyword) and node.arg == "layout" for node in ast.walk(way.node)):
        return Refusal(RefusalKind.NO_FORM, "a sum with another layout may raise", "return a dense tensor")
    if not names.can_spell_torch(spelling):
        return Refusal(
            RefusalKind.SPELLING, "torch isn't imported here, and there is no place to import it", "import torch first"
        )
    title = f"Connect `{short(source, way.node)}` to {_listed(operand.name for operand in way.operands)}"
    grade = Applicability.SAFE if way.proven else Applicability.UNSAFE
    return (Rewrite(title, grade, partial(_build, way=way, spelling=spelling)),)


def _listed(named: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in named)


def _build(source: Source, *, way: BareWay, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    text = pieces.text_of(source, way.node)
    if not _is_constant(way.node, spelling):
        return _selected(source, way, spelling)
    if all(_keeps_kind(way, operand) for operand in way.operands):
        return (pieces.instead(source, way.node, " + ".join((text, *map(_zero, way.operands)))),)
    name = names.fresh(source, "zero" if "0" in text or "zeros" in text else "constant")
    terms = (name, *(f"{_zero(operand)}.to({name})" for operand in way.operands))
    return _under_a_name(source, way, name, " + ".join(terms), spelling)


def _selected(source: Source, way: BareWay, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    leaves = [operand.name for operand in way.operands]
    if isinstance(way.node, ast.Name):
        kept = kept_by_where(way.node.id, leaves, _UNKNOWN, spelling)
        return (pieces.instead(source, way.node, kept), *names.import_torch(source, spelling, kept))
    name = names.fresh(source, "result", "returned")
    kept = kept_by_where(name, leaves, _UNKNOWN, spelling)
    edits = _under_a_name(source, way, name, kept, spelling)
    return edits if isinstance(edits, Refusal) else (*edits, *names.import_torch(source, spelling, kept))


def _under_a_name(
    source: Source, way: BareWay, name: str, brought: str, spelling: Spelling
) -> tuple[Edit, ...] | Refusal:
    """The value in a statement before, and `brought` in its place."""
    statement = source.span_of(way.statement)
    node = source.span_of(way.node)
    is_within = statement.start <= node.start and node.end <= statement.end
    in_class = isinstance(names.scope_of(source, way.statement), ast.ClassDef)
    if not isinstance(way.statement, _SIMPLE) or not is_within or in_class:
        return Refusal(
            RefusalKind.SPELLING,
            f"there is no place for a statement before `{short(source, way.node)}`",
            "compute it in a statement of its own",
        )
    if getattr(way.statement, "value", None) is not way.node and not _is_the_same_anywhere(way.node, spelling):
        return Refusal(
            RefusalKind.ORDER,
            f"`{short(source, way.node)}` would be computed before what stands before it",
            "compute it in a statement of its own",
        )
    before = f"{name} = {pieces.text_of(source, way.node)}"
    return (*sites.prepend(sites.site_of(source, way.statement), [before]), pieces.instead(source, way.node, brought))


def _is_the_same_anywhere(made: ast.expr, spelling: Spelling) -> bool:
    """A constant made of what is written out, whichever arm or round of a comprehension it stands in."""
    local = {str(spelling.torch), *(name for name, _ in spelling.names)}
    return _is_constant(made, spelling) and all(
        node.id in local for node in ast.walk(made) if isinstance(node, ast.Name)
    )


def _zero(operand: Operand) -> str:
    """`x[:0].sum()`, a zero with the graph of `x`."""
    flat = operand.name if operand.tensor.rank else f"{operand.name}.flatten()"
    return f"{flat}[:0].sum()"


def _keeps_kind(way: BareWay, operand: Operand) -> bool:
    """Whether the sum, which has no dimensions, leaves the dtype and the device of what it is added to."""
    if _same_spelled(way.node, operand.name):
        return True
    made, added = way.tensor, operand.tensor
    narrower = bool(made.rank) and is_floating(made) and added.dtype is not None and is_real(added.dtype)
    same_device = made.rank == 0 or (made.device is not None and made.device == added.device)
    return same_device and (operand.same_dtype or narrower)


def _same_spelled(made: ast.expr, name: str) -> bool:
    """`x.new_zeros(())`, `torch.zeros_like(x)`: of the dtype and on the device of `x`."""
    if not isinstance(made, ast.Call):
        return False
    of = made.func.value if isinstance(made.func, ast.Attribute) else None
    if not ast.unparse(made.func).rpartition(".")[2].startswith("new_"):
        is_like = ast.unparse(made.func).endswith("_like") and bool(made.args)
        of = made.args[0] if is_like else None
    spelled = {k.arg: ast.unparse(k.value) for k in made.keywords}
    alike = of is not None and ast.unparse(of) == name
    asked = {f"{name}.{kind}": spelled.get(kind, f"{name}.{kind}" if alike else "") for kind in ("dtype", "device")}
    return all(kind == given for kind, given in asked.items())


def _is_constant(made: ast.expr, spelling: Spelling) -> bool:
    """Whether it is made of a number, and not of minus zero."""
    if not isinstance(made, ast.Call):
        return False
    called = ast.unparse(made.func).rpartition(".")[2]
    is_method = isinstance(made.func, ast.Attribute) and called.startswith("new_")
    if not (is_method or is_torch_call(made, spelling)):
        return False
    if called in _OF_NUMBERS:
        return len(made.args) == 1 and is_literal_number(made.args[0]) and not ast.unparse(made.args[0]).startswith("-")
    return called in _ZEROS
