"""Detours through NumPy as operations of torch: `torch.from_numpy(np.sqrt(x.detach().numpy()))` is `torch.sqrt(x)`."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import Cut, Spelling
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.cuts.gathered_numbers import gathered
from gradfix.rewrite.cuts.named_arrays import Back, Detour, detour_of
from gradfix.rewrite.cuts.numpy_twins import EXACT, Twins, function_of, number_behind, tensor_behind
from gradfix.rewrite.cuts.plain_names import PlainNames, plain_names
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_literal_number
from gradfix.rewrite.text.pieces import atom, has_comment, is_parenthesised, text_of
from gradfix.rewrite.text.unused_imports import without_import
from gradfix.source import Source

_ADVICE = "compute it with operations of torch, without the array"
_NO_TWIN = Refusal(RefusalKind.NO_FORM, "torch has no equal of everything NumPy does here", _ADVICE)


def is_exact(source: Source, cut: Cut) -> bool:
    """Whether torch gives the same bits as what the detour goes through."""
    detour = detour_of(source, cut)
    if detour is None or len(detour.back) != 1:
        return False
    if detour.fills:
        return _only_puts(detour)
    nodes = [node for part in detour.expressions for node in ast.walk(part)]
    tensors = [tensor_behind(node) for node in nodes if isinstance(node, ast.expr)]
    if len({ast.dump(tensor) for tensor in tensors if tensor is not None}) > 1:
        return False  # of another dtype, maybe: NumPy and torch don't agree on what comes of two
    if any(isinstance(node, ast.BinOp) and _rounds_otherwise(node, detour) for node in nodes):
        return False
    methods = any(isinstance(n, ast.Attribute) and n.attr in ("sum", "mean") for n in nodes)
    return not methods and all(name in EXACT for name in map(function_of, nodes) if name is not None)


def _only_puts(detour: Detour) -> bool:
    """Whether NumPy computes nothing: what is put into its arrays is read from them."""
    put = all(tensor_behind(f.value) is not None or number_behind(f.value) is not None for f in detour.fills)
    read = all(isinstance(back.call.args[0], ast.Name) for back in detour.back)
    return put and read and all(name in detour.filled for name in detour.arrays)


def _rounds_otherwise(node: ast.BinOp, detour: Detour) -> bool:
    """Powers, and `2.0 / x`, which torch computes as `x.reciprocal() * 2.0`."""
    number = is_literal_number(node.left) or (isinstance(node.left, ast.Name) and node.left.id in detour.numbers)
    return isinstance(node.op, ast.Pow) or (isinstance(node.op, ast.Div) and number)


def reconnected(source: Source, cut: Cut, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that compute in torch what the detour computes in NumPy."""
    detour = detour_of(source, cut) or gathered(source, cut)
    if detour is None:
        return Refusal(
            RefusalKind.UNKNOWN,
            "its value goes through a NumPy array that is used for other things, or can't be followed",
            _ADVICE,
        )
    if any(has_comment(source, source.span_of(part)) for part in detour.expressions):
        return Refusal(
            RefusalKind.SPELLING, "a comment inside the expression would be lost", "move it before the statement"
        )
    typed = all(any(k.arg == "dtype" for k in back.call.keywords) for back in detour.back)
    plain = plain_names(source, detour)
    twins = Twins(
        source,
        spelling,
        detour.arrays,
        detour.numbers,
        detour.floats,
        detour.filled,
        detour.lists,
        not typed,
        plain.read_as,
    )
    edits = _edits(source, cut, detour, twins, plain)
    if isinstance(edits, Refusal):
        return edits
    if not names.can_spell_torch(spelling):
        return _NO_TWIN
    imports = names.import_torch(source, spelling, " ".join(edit.text for edit in edits))
    return (*edits, *imports, *without_import(source, edits, "numpy"))


def _edits(source: Source, cut: Cut, detour: Detour, twins: Twins, plain: PlainNames) -> list[Edit] | Refusal:
    edits = list(plain.edits)
    for name, value in detour.bound:
        if name in plain.read_as:
            continue
        made = twins.made(value) if name in detour.filled else twins.whole(value)
        if made is None:
            return _NO_TWIN
        if made != text_of(source, value):
            edits.append(Edit(source.span_of(value), made))
    for fill in detour.fills:
        made = twins.put(fill.value)
        if made is None or (isinstance(fill, ast.AugAssign) and not _is_scalar(source, cut, fill)):
            return _NO_TWIN
        edits.append(Edit(source.span_of(fill.value), made))
    edits += [_as_tensor(source, cut, number) for number in detour.gathered]
    for back in (one for one in detour.back if id(one.call) not in plain.done):
        text = _of_call(source, back, detour, twins)
        if isinstance(text, Refusal):
            return text
        edits.append(Edit(source.span_of(back.call), text))
    return edits


def _as_tensor(source: Source, cut: Cut, number: ast.expr) -> Edit:
    """The tensor itself, without dimensions, in the place of a number that a list gathers."""
    tensor = number_behind(number)
    assert tensor is not None
    own = source.span_of(number) == source.span_of(cut.node)
    facts = cut.value.tensor if own and cut.value is not None else None
    shape = "" if facts is not None and facts.rank == 0 else ".reshape(())"
    changes = cut.value_changes if own else isinstance(tensor, (ast.Name, ast.Attribute, ast.Subscript))
    conversion = shape + ".clone()" * changes  # the number was what it was then
    text = atom(source, tensor) + conversion if conversion else text_of(source, tensor)
    return Edit(source.span_of(number), text)


def _is_scalar(source: Source, cut: Cut, fill: ast.AugAssign) -> bool:
    """Whether what is added to a slot has no dimensions: NumPy takes a number, torch would see one too many."""
    inside = [node for node in ast.walk(fill.value) if isinstance(node, ast.expr)]
    numbers = [node for node in inside if number_behind(node) is not None]
    tensor = None if cut.value is None else cut.value.tensor
    own = [source.span_of(node) for node in numbers] == [source.span_of(cut.node)]
    return not numbers or (own and tensor is not None and tensor.rank == 0)


def _of_call(source: Source, back: Back, detour: Detour, twins: Twins) -> str | Refusal:
    """What takes the place of the call that makes a tensor of the array again."""
    call = back.call
    made = twins.operand(call.args[0]) if _is_operand(source, back) else twins.text(call.args[0])
    if made is None:
        return _NO_TWIN
    if _is_tensor(call) and not made.endswith(".clone()") and detour.may_share(call.args[0]):
        made += ".clone()"  # `torch.tensor` copies, the others share
    given = [k for k in call.keywords if not _asks_for_gradients(k)]
    keywords = [f"{k.arg}={text_of(source, k.value)}" for k in given if k.arg in ("dtype", "device")]
    if len(keywords) != len(given):
        return Refusal(
            RefusalKind.NO_FORM, "the call has arguments that a tensor computed in torch has no place for", _ADVICE
        )
    of = made if made.isidentifier() else f"({made})"
    return f"{of}.to({', '.join(keywords)})" if keywords else made


def _is_operand(source: Source, back: Back) -> bool:
    """Whether what stands around the call would take only a part of what is computed with operators."""
    takes_part = isinstance(back.outer, (ast.Attribute, ast.Subscript, ast.BinOp, ast.UnaryOp, ast.Await))
    return takes_part and not is_parenthesised(source, back.call)


def _is_tensor(call: ast.Call) -> bool:
    return (call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")) == "tensor"


def _asks_for_gradients(keyword: ast.keyword) -> bool:
    """`requires_grad=True`: what is computed from tensors that require grad does."""
    asked = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
    return keyword.arg == "requires_grad" and asked is True
