"""The verb `copy_saved`: backward keeps a copy of what the write would overwrite, and the write stays as it is.

Exact whoever else holds the tensor: nobody is given a new one, and every write still reaches everybody. What an
operation saved of its operand, or of its result, is cloned there: `y.clone().sin()`, `x.exp().clone()`. A result saved
in place, `y.exp_()`, is computed out of place and copied in: `y.copy_(y.exp())`, which saves nothing of `y`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import lru_cache, partial

from gradfix import torch_ops
from gradfix.analysis.facts import ObstacleKind, SavedValue, Spelling, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.text.expressions import is_effectless, short
from gradfix.rewrite.text.names import tree_of
from gradfix.rewrite.text.scopes import path_to
from gradfix.rewrite.writes.flags import flag_of
from gradfix.source import Source, Span

_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)
_NOT_FOUND = Refusal(
    RefusalKind.UNKNOWN, "what backward saved can't be found in the text", "clone it by hand where it is used"
)
_COMPUTED = Refusal(
    RefusalKind.NOT_ASSIGNABLE,
    "what the in-place call works on is computed on the spot",
    "give it a name first, and copy the result into it: `y.copy_(y.exp())`",
)
_PASSING = (ast.List, ast.Tuple, ast.Starred, ast.keyword, ast.Attribute)  # what is in it is read by what is around
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_HOOKS = re.compile(r"\bregister_(?:module_)?forward_hook\(")


def copy_saved(source: Source, write: Write, spelling: Spelling) -> Rewrite | None:
    """Clone, where operations take them, the values that `write` overwrites; None where that wouldn't be a cure.

    Unsafe where nothing is known of the operation: it may write to its operand, or return it. And where the write reads
    a part of what it writes, or where an operand is cloned before others are evaluated that may write to it.
    """
    return copy_all_saved(source, (write,), spelling)


def copy_all_saved(source: Source, writes: Sequence[Write], spelling: Spelling) -> Rewrite | None:
    """The same for all that several writes overwrite."""
    if not writes or not all(write.saved for write in writes):
        return None
    values = tuple(dict.fromkeys(value for write in writes for value in write.saved))
    names = " and ".join(dict.fromkeys(f"`{short(source, value.expression)}`" for value in values))
    known = all(write.saved_by_known for write in writes) and not _may_be_hooked(source, values)
    early = any(_is_read_late(source, value.expression, w, spelling) for w in writes for value in w.saved)
    exact = known and not early and not any(map(_reads_what_it_writes, writes))
    grade = Applicability.SAFE if exact else Applicability.UNSAFE
    build = partial(_build, values=values, spelling=spelling)
    return Rewrite(f"Let backward keep a copy of {names}", grade, build, "saved-copy", last_resort=True)


def _reads_what_it_writes(write: Write) -> bool:
    """Whether a copy of its operand would hold what the write has changed before it reads it: `z *= z[:, 0]`."""
    return any(obstacle.kind is ObstacleKind.OVERLAP for obstacle in write.obstacles)


def _is_read_late(source: Source, operand: ast.expr, write: Write, spelling: Spelling) -> bool:
    """Whether `write` may come between it and the operation it goes to, while others are evaluated: `f() * f()`."""
    around = path_to(tree_of(source), operand)
    later = _evaluated_later(operand, around)
    if _scope(around) is _scope(path_to(tree_of(source), write.target)):
        return any(_place(node) == _place(write.node) for part in later for node in ast.walk(part))
    return not all(is_effectless(part, spelling) for part in later)


def _evaluated_later(operand: ast.expr, around: tuple[ast.AST, ...]) -> list[ast.AST]:
    """What stands behind an operand, up to the operation that reads it."""
    end, later = (operand.end_lineno, operand.end_col_offset), []
    for node in around:
        if not isinstance(node, (ast.expr, ast.keyword)):
            break
        later += [part for part in ast.iter_child_nodes(node) if hasattr(part, "lineno") and _place(part)[:2] >= end]
        if not isinstance(node, _PASSING):
            break
    return later


def _place(node: ast.AST) -> tuple[object, ...]:
    return tuple(getattr(node, name, None) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"))


def _scope(around: tuple[ast.AST, ...]) -> ast.AST | None:
    return next((node for node in around if isinstance(node, _SCOPES)), None)


def _may_be_hooked(source: Source, values: Sequence[SavedValue]) -> bool:
    """Whether a hook may have got the result that is cloned: it would miss the write."""
    return _has_hooks(source.text) and any(isinstance(value.expression, ast.Call) for value in values)


@lru_cache(maxsize=1)
def _has_hooks(text: str) -> bool:
    return _HOOKS.search(text) is not None


def _build(source: Source, *, values: tuple[SavedValue, ...], spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    insertions: dict[int, str] = {}
    edits: list[Edit] = []
    for value in sorted(values, key=lambda value: len(_text(source, value.expression))):  # inner ones first
        expression = value.expression
        if not _stands_there(_text(source, expression), expression):
            return _NOT_FOUND
        opening, closing = ("", ".clone()") if isinstance(expression, _ATOMS) else ("(", ").clone()")
        if value.form is not None:
            copied = _copied_in(source, value, spelling)
            if isinstance(copied, Refusal):
                return copied
            opening, closing, inner = copied
            edits += inner
        span = source.span_of(expression)
        insertions[span.start] = opening + insertions.get(span.start, "")
        insertions[span.end] = insertions.get(span.end, "") + closing
    edits += [Edit(Span(offset, offset), text) for offset, text in insertions.items() if text]
    return tuple(sorted(edits, key=lambda edit: (edit.span.start, edit.span.end)))


def _copied_in(source: Source, value: SavedValue, spelling: Spelling) -> tuple[str, str, list[Edit]] | Refusal:
    """What goes before and behind `y.exp_()`, and the edits inside, that make it `y.copy_(y.exp())`."""
    call = value.expression
    assert isinstance(call, ast.Call)
    if value.form is WriteForm.METHOD and isinstance(call.func, ast.Attribute):
        target = call.func.value
    else:
        target = call.args[0] if call.args else call
    if target is call or not is_effectless(target, spelling):
        return _COMPUTED
    edits: list[Edit] = []
    if value.form is WriteForm.FLAG:
        edits += _without_flag(source, call)
    else:
        end = source.span_of(call.func).end
        if _twin(value) is None or source.text[end - 1] != "_" or isinstance(call.func, ast.Name):
            return Refusal(
                RefusalKind.NO_FORM,
                f"`{value.method}` has no form that leaves its tensor alone",
                "clone the tensor before it",
            )
        edits.append(Edit(Span(end - 1, end), ""))
    text = _text(source, target)
    holder = text if isinstance(target, _ATOMS) else f"({text})"
    if value.form is WriteForm.FLAG or _saves_operand(value):
        end = source.span_of(target).end
        edits.append(Edit(Span(end, end), ".clone()" if isinstance(target, _ATOMS) else ").clone()"))
        if not isinstance(target, _ATOMS):
            start = source.span_of(target).start
            edits.append(Edit(Span(start, start), "("))
    return f"{holder}.copy_(", ")", edits


def _twin(value: SavedValue) -> torch_ops.Operator | None:
    """The operator that does the same out of place."""
    name = (value.method or "_")[:-1]
    if value.form is WriteForm.METHOD:
        return torch_ops.method(name)
    return torch_ops.function(f"torch.nn.functional.{name}") or torch_ops.function(f"torch.{name}")


def _saves_operand(value: SavedValue) -> bool:
    """Whether the out-of-place form keeps the tensor it is called on, which `copy_` overwrites."""
    operator = _twin(value)
    return operator is None or any(entry.parameter == operator.parameters[0] for entry in operator.saves)


def _without_flag(source: Source, call: ast.Call) -> list[Edit]:
    """The edits that drop the flag; none for a module, which was made with it."""
    span = flag_of(source, call)
    return [] if span is None else [Edit(span, "")]


def _text(source: Source, expression: ast.expr) -> str:
    return source.span_of(expression).text(source.text)


def _stands_there(text: str, expression: ast.expr) -> bool:
    """Whether the place is right: inside of f-strings, older Pythons give wrong ones."""
    try:
        return ast.dump(ast.parse(f"({text}\n)", mode="eval").body) == ast.dump(expression)
    except SyntaxError:
        return False
