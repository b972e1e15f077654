"""Builds the anchor of a buffer: its graph reaches the leaves whichever way a branch goes.

`torch.where` with a mask that is False everywhere gives back the buffer bit for bit and passes its gradient on; the
other operand gets a gradient of zero, also where it holds infinities or NaN, which `y + 0 * x.sum()` wouldn't survive.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.facts import ConditionalFill, Spelling, TensorFacts
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.branches import guarded
from gradfix.rewrite.grounds.dtypes import is_floating, is_integer
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_place, short
from gradfix.rewrite.writes import obstacles
from gradfix.source import Source, Span


def build(source: Source, fill: ConditionalFill, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that add the anchor behind the branch, and behind the whole chain where the branch is an `elif`."""
    branch = names.outermost_branch(source, fill.branch)
    start = source.position(source.span_of(branch).start)
    before = source.line_text(start.line)[: start.column]
    if before.strip():
        return Refusal(
            RefusalKind.SPELLING, "the branch doesn't stand on lines of its own", "put it on lines of its own"
        )
    line = anchor(source, fill, spelling)
    last = source.position(source.span_of(branch).end).line
    end = source.line_span(last).end
    if source.text[source.span_of(branch).end : end].lstrip().startswith(";"):
        return Refusal(
            RefusalKind.SPELLING, "the branch shares its last line with another statement", "put it on lines of its own"
        )
    newline = source.newline_at(last) or source.newline
    text = newline + before.replace("\f", "") + line
    return (Edit(Span(end, end), text), *names.import_torch(source, spelling, text))


def anchor(source: Source, fill: ConditionalFill, spelling: Spelling) -> str:
    """`y = torch.where(torch.zeros_like(y, dtype=torch.bool), x.sum(), y)`."""
    name = source.span_of(fill.buffer).text(source.text)
    return f"{name} = {kept_by_where(name, anchors(source, fill), fill.tensor, spelling)}"


def kept_by_where(name: str, leaves: Sequence[str], tensor: TensorFacts, spelling: Spelling) -> str:
    """`torch.where(torch.zeros_like(y, dtype=torch.bool), x.sum(), y)`: the tensor `name`, connected to `leaves`."""
    total = " + ".join(f"{leaf}.sum()" for leaf in leaves)
    if not tensor.rank or not is_floating(tensor):  # may take on a wider dtype, or one of floats
        total = f"({total}).to({name})" if "+" in total else f"{total}.to({name})"
    where, zeros_like, boolean = (names.torch_name(spelling, f) for f in ("where", "zeros_like", "bool"))
    return f"{where}({zeros_like}({name}, dtype={boolean}), {total}, {name})"


def is_anchored(source: Source, fill: ConditionalFill) -> bool:
    """Whether the statement after the branch is such an anchor already."""
    following = names.statement_after(source, names.outermost_branch(source, fill.branch))
    if not isinstance(following, ast.Assign) or not isinstance(following.value, ast.Call):
        return False
    call, name = following.value, ast.unparse(fill.buffer)
    mask = call.args[0] if len(call.args) == 3 else None
    return (
        ast.unparse(following.targets[0]) == name
        and isinstance(mask, ast.Call)
        and ast.unparse(mask.func).endswith("zeros_like")
        and ast.unparse(call.args[2]) == name
    )


def anchor_refusal(source: Source, fill: ConditionalFill) -> Refusal | None:
    """Why the buffer can't be connected after the branch."""
    name = short(source, fill.buffer)
    if not is_place(fill.buffer):
        return Refusal(RefusalKind.NOT_ASSIGNABLE, f"`{name}` can't be assigned", "store the buffer under a name")
    for write in fill.writes:
        refused = obstacles.refusal(source, write)
        if refused is not None:
            return refused
    if not anchors(source, fill):
        return Refusal(
            RefusalKind.UNKNOWN,
            f"what the branch writes to `{name}` isn't computed from a tensor known outside it",
            f"start `{name}` from a tensor that requires grad, or add the term to the loss without a branch",
        )
    if is_integer(fill.tensor.dtype):
        return Refusal(
            RefusalKind.NO_FORM, f"`{name}` holds integers, which carry no gradient", f"make `{name}` a floating tensor"
        )
    return None


def anchors(source: Source, fill: ConditionalFill) -> tuple[str, ...]:
    """Tensors the writes are computed from that are there whichever way is taken, the buffer excluded."""
    gone = {node.id for node in _names(fill.branch) if isinstance(node.ctx, ast.Store)} | {ast.unparse(fill.buffer)}
    known = tuple(name for name in fill.sources if name not in gone)
    if known:
        return known
    read = {ast.dump(node) for write in fill.writes if write.value is not None for node in ast.walk(write.value)}
    for operand in guarded.shown_tensors(fill.branch.test):
        if ast.dump(operand) in read and gone.isdisjoint(node.id for node in _names(operand)):
            return (source.span_of(operand).text(source.text),)
    return ()


def _names(node: ast.AST) -> list[ast.Name]:
    return [inner for inner in ast.walk(node) if isinstance(inner, ast.Name)]
