"""The verb `split_plainly`: the parts of a tensor as single views, which may be written and whose base sees it.

The views of `unbind`, `split` and `chunk`, and those that iterating over a tensor makes, can't be written in place;
those of indexing and of `tensor_split` can. Measured on torch 2.13: same values, same memory, and autograd follows.
"""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.analysis.text.builtin_names import builtin
from gradfix.edits import Edit
from gradfix.findings import Applicability, HazardKind, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.grounds.places import view_base
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_effectless, is_place
from gradfix.rewrite.text.scopes import path_to
from gradfix.source import Source

_SPLITTING = frozenset({"unbind", "chunk", "split"})
_ITERATING = frozenset({"enumerate", "zip", "list", "tuple", "iter"})  # `reversed(y)` copies
_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)
_UNPACKED = 4  # parts that are written out one by one
_COMPUTED = Refusal(
    RefusalKind.NOT_ASSIGNABLE, "the tensor that is split is computed on the spot", "give it a name first"
)
_SIZES = Refusal(
    RefusalKind.UNKNOWN, "the sizes of the parts aren't written out", "take the parts by slices: `y[:k]`, `y[k:]`"
)


def split_plainly(source: Source, write: Write, spelling: Spelling) -> Rewrite | None:
    """Take the views that `write` is about one by one; None where nothing shows what made them."""
    kinds = {hazard.kind for hazard in write.hazards}
    if not write.splits or HazardKind.MULTI_VIEW_WRITTEN not in kinds:
        return None
    sure = all(_keeps_sizes(node, spelling) for node in write.splits)
    grade = Applicability.SAFE if sure else Applicability.UNSAFE
    assigned = write.form is WriteForm.AUGMENTED and isinstance(write.target, ast.Subscript)  # `parts[0] += v`
    build = partial(_build, splits=write.splits, spelling=spelling, as_list=assigned)
    equal = "" if sure else " (of equal sizes)"
    return Rewrite(f"Take the parts as views that may be written{equal}", grade, build, "plain-views")


def _keeps_sizes(node: ast.expr, spelling: Spelling) -> bool:
    """Whether `tensor_split` gives parts of the same sizes: for two chunks always, for more if they are equal."""
    if not isinstance(node, ast.Call) or called(node) != "chunk":
        return True
    number = argument_of(node, spelling, 0)
    return isinstance(number, ast.Constant) and number.value == 2


def _build(
    source: Source, *, splits: tuple[ast.expr, ...], spelling: Spelling, as_list: bool
) -> tuple[Edit, ...] | Refusal:
    edits = []
    for node in splits:
        made = _edit(source, node, spelling)
        if isinstance(made, Refusal):
            return made
        if as_list and made.text.partition("(")[0].endswith(".tensor_split"):
            made = Edit(made.span, f"list({made.text})")  # the items of a tuple can't be assigned
        edits.append(made)
    return tuple(sorted(set(edits), key=lambda edit: edit.span.start))


def _edit(source: Source, node: ast.expr, spelling: Spelling) -> Edit | Refusal:
    if isinstance(node, ast.Call) and called(node) in _SPLITTING:
        text = _without_splitting(source, node, spelling)
        return text if isinstance(text, Refusal) else Edit(source.span_of(node), text)
    base = _iterated(source, node)
    if base is None or not _is_repeatable(base, spelling):
        return _COMPUTED
    text = _text(source, base)
    if is_place(base) and (count := _unpacked(node)) is not None:
        return Edit(source.span_of(base), ", ".join(f"{text}[{i}]" for i in range(count)))
    return Edit(source.span_of(_listed(source, node) or base), _rows(source, text))


def _listed(source: Source, node: ast.expr) -> ast.expr | None:
    """What makes nothing but a list of what iterating gives: `list(y)`, or `[row for row in y]` around `y`."""
    if isinstance(node, ast.Call):
        return node if builtin(node.func) == "list" else None
    around = path_to(names.tree_of(source), node)
    generator, whole = around[:2] if len(around) > 1 else (None, None)
    if not isinstance(whole, ast.ListComp) or not isinstance(generator, ast.comprehension):
        return None
    is_all = len(whole.generators) == 1 and not generator.ifs and not generator.is_async
    same = isinstance(whole.elt, ast.Name) and ast.unparse(generator.target) == whole.elt.id
    return whole if is_all and same else None


def _unpacked(node: ast.expr) -> int | None:
    """Into how many names, where they are few."""
    if not isinstance(node, (ast.Tuple, ast.List)) or any(isinstance(part, ast.Starred) for part in node.elts):
        return None
    return len(node.elts) if len(node.elts) <= _UNPACKED else None


def _rows(source: Source, text: str) -> str:
    index = names.fresh(source, "i", "k", "index")
    return f"[{text}[{index}] for {index} in range(len({text}))]"


def _iterated(source: Source, node: ast.expr) -> ast.expr | None:
    """The tensor that is iterated over: the expression itself, the argument of `enumerate`, or what is unpacked."""
    if isinstance(node, ast.Call) and builtin(node.func) in _ITERATING:
        return node.args[0] if len(node.args) == 1 and not node.keywords else None
    if isinstance(node, (ast.Tuple, ast.List)) and isinstance(node.ctx, ast.Store):
        around = path_to(names.tree_of(source), node)
        statement = around[0] if around else None
        return statement.value if isinstance(statement, ast.Assign) else None
    return node


def _without_splitting(source: Source, call: ast.Call, spelling: Spelling) -> str | Refusal:
    """`y.split(2)` as `y.tensor_split(…)`, `y.unbind()` as a list of items."""
    base = base_of_split(call, spelling)
    if base is None or not _is_repeatable(base, spelling):
        return _COMPUTED
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return _SIZES
    text = _text(source, base) if isinstance(base, _ATOMS) else f"({_text(source, base)})"
    name = called(call)
    axis = argument_of(call, spelling, 0 if name == "unbind" else 1, "dim")
    if axis is not None and not is_effectless(axis, spelling):
        return _SIZES
    dim = None if axis is None else _text(source, axis)
    if name == "unbind":
        if dim in (None, "0"):
            return _rows(source, text)
        index = names.fresh(source, "i", "k", "index")
        return f"[{text}.select({dim}, {index}) for {index} in range({text}.size({dim}))]"
    where = (
        _sections(source, call, spelling, text, dim)
        if name == "split"
        else _text_of(source, argument_of(call, spelling, 0, "chunks"))
    )
    if where is None:
        return _SIZES
    return f"{text}.tensor_split({where})" if dim is None else f"{text}.tensor_split({where}, {dim})"


def _sections(source: Source, call: ast.Call, spelling: Spelling, text: str, dim: str | None) -> str | None:
    """Where `split` cuts: after every so many, or after each of the sizes written out."""
    sizes = argument_of(call, spelling, 0, "split_size", "split_size_or_sections")
    if isinstance(sizes, ast.Constant) and type(sizes.value) is int:
        return f"list(range({sizes.value}, {text}.size({dim or 0}), {sizes.value}))"
    if not isinstance(sizes, (ast.List, ast.Tuple)) or not sizes.elts:
        return None
    parts = [_text(source, part) for part in sizes.elts]
    if not all(isinstance(part, (ast.Constant, ast.Name, ast.Attribute)) for part in sizes.elts):
        return None
    numbers = [part.value for part in sizes.elts if isinstance(part, ast.Constant) and type(part.value) is int]
    if len(numbers) == len(parts):
        ends = [str(sum(numbers[: i + 1])) for i in range(len(numbers) - 1)]
    else:
        ends = [" + ".join(parts[: i + 1]) for i in range(len(parts) - 1)]
    return f"({ends[0]},)" if len(ends) == 1 else f"({', '.join(ends)})"


def base_of_split(call: ast.Call, spelling: Spelling) -> ast.expr | None:
    """The tensor that is split: what the method is called on, or the first argument of the function."""
    if _is_function(call, spelling):
        return call.args[0] if call.args else None
    return call.func.value if isinstance(call.func, ast.Attribute) else None


def _is_function(call: ast.Call, spelling: Spelling) -> bool:
    if isinstance(call.func, ast.Name):
        return True
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in (spelling.torch, "torch")


def argument_of(call: ast.Call, spelling: Spelling, place: int, *keywords: str) -> ast.expr | None:
    """An argument by its place after the tensor, or by name."""
    for keyword in call.keywords:
        if keyword.arg in keywords:
            return keyword.value
    place += _is_function(call, spelling)
    return call.args[place] if place < len(call.args) else None


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_repeatable(base: ast.expr, spelling: Spelling) -> bool:
    """A name, or views of one: each time it is evaluated it stands for the same memory."""
    while not is_place(base):
        inner = view_base(base)
        if inner is None or not is_effectless(base, spelling):
            return False
        base = inner
    return True


def _text_of(source: Source, node: ast.expr | None) -> str | None:
    return None if node is None else _text(source, node)


def _text(source: Source, node: ast.expr) -> str:
    return source.span_of(node).text(source.text)
