"""`torch.tensor([a, b])` as `torch.stack([a, b])`: the same values in the same dtype, with their graph."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import Cut, Spelling, ValueFacts, ValueKind
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text import names
from gradfix.rewrite.text.pieces import atom, has_comment, text_of
from gradfix.source import Source, Span

_UNUSUAL = Refusal(
    RefusalKind.NO_FORM,
    "the call has arguments that `torch.stack` has no place for",
    "build the tensor with `torch.stack`",
)
_UNKNOWN = Refusal(
    RefusalKind.UNKNOWN,
    "what the values come from isn't known here",
    "hand on a tensor as it is, put a list of tensors together with `torch.stack`, compute numbers with torch",
)
_TYPED = {"FloatTensor": "float32", "DoubleTensor": "float64"}
_COMPREHENSIONS = (ast.ListComp, ast.GeneratorExp)


def reconnected(source: Source, cut: Cut, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that make the tensor of the tensors themselves."""
    call = cut.node
    if not isinstance(call, ast.Call) or cut.argument is None or len(call.args) > 1:
        return _UNUSUAL
    keywords = {k.arg: k.value for k in call.keywords}
    if not set(keywords) <= {"data", "dtype", "device", "requires_grad"}:
        return _UNUSUAL
    if "requires_grad" in keywords and not isinstance(keywords["requires_grad"], ast.Constant):
        return _UNUSUAL
    if not names.can_spell_torch(spelling):
        return Refusal(RefusalKind.SPELLING, "torch can't be named here", "import torch")
    if has_comment(source, source.span_of(call)):
        return Refusal(RefusalKind.SPELLING, "a comment inside the call would be lost", "move it before the statement")
    if cut.op == "tensor" and cut.may_be_number:
        return _as_tensor(source, cut, cut.argument, keywords, source.span_of(call), spelling)
    single = cut.value is not None and cut.value.kind is ValueKind.TENSOR
    made = atom(source, cut.argument) if single else _stacked(source, cut, cut.argument, spelling)
    if isinstance(made, Refusal):
        return made
    conversion = _conversion(source, cut, call, keywords, single=single, spelling=spelling)
    if single and not conversion:
        made = _alone(source, cut, call, cut.argument)
    text = made + conversion
    edit = Edit(source.span_of(call), text)
    return (edit, *names.import_torch(source, spelling, text))


def without_copy(source: Source, cut: Cut, call: ast.Call, tensor: ast.expr, spelling: Spelling) -> tuple[Edit, ...]:
    """`torch.tensor(loss.item())` as the loss itself, of no dimensions; a copy where others hold its memory."""
    keywords = {k.arg: k.value for k in call.keywords}
    scalar = cut.value is not None and cut.value.tensor is not None and cut.value.tensor.rank == 0
    conversion = "" if scalar else ".reshape(())"
    conversion += _conversion(source, cut, call, keywords, single=True, spelling=spelling)
    text = atom(source, tensor) + conversion if conversion else _alone(source, cut, call, tensor)
    return (Edit(source.span_of(call), text), *names.import_torch(source, spelling, text))


def _alone(source: Source, cut: Cut, call: ast.Call, tensor: ast.expr) -> str:
    """The text of a tensor in the place of a call, without brackets where the call is all there is."""
    text = text_of(source, tensor)
    return text if getattr(cut.statement, "value", None) is call and "\n" not in text else atom(source, tensor)


def _as_tensor(
    source: Source, cut: Cut, argument: ast.expr, keywords: dict[str | None, ast.expr], place: Span, spelling: Spelling
) -> tuple[Edit, ...]:
    """What is a number on some ways, a tensor on others: `torch.as_tensor` keeps graph and memory of the one."""
    given = [f"{name}={text_of(source, keywords[name])}" for name in ("dtype", "device") if name in keywords]
    text = f"{names.torch_name(spelling, 'as_tensor')}({', '.join([text_of(source, argument), *given])})"
    text += "" if cut.is_fresh else ".clone()"
    return (Edit(place, text), *names.import_torch(source, spelling, text))


def _conversion(
    source: Source, cut: Cut, call: ast.Call, keywords: dict[str | None, ast.expr], *, single: bool, spelling: Spelling
) -> str:
    """What gives the tensor the dtype and device that the call asks for; of a single tensor also a copy."""
    given = [f"{name}={text_of(source, keywords[name])}" for name in ("device", "dtype") if name in keywords]
    if len(given) == 1:
        given = [given[0].partition("=")[2]]
    if cut.op == "new_tensor" and isinstance(call.func, ast.Attribute) and "dtype" not in keywords:
        like = text_of(source, call.func.value)
        given = [f"{like}.dtype" if "device" in keywords else like] if not given else [given[0], f"{like}.dtype"]
    elif cut.op in _TYPED:
        given = [names.torch_name(spelling, _TYPED[cut.op])]
    elif cut.op == "Tensor" and any(_dtype(part) != "float32" for part in cut.parts):
        given = [f"{names.torch_name(spelling, 'get_default_dtype')}()"]
    if single and cut.op == "Variable":
        return ""  # it shares the memory, too
    if single and not cut.is_fresh:
        return f".to({', '.join(given)}, copy=True)" if given else ".clone()"
    return f".to({', '.join(given)})" if given else ""


def _dtype(part: ValueFacts) -> str | None:
    return part.tensor.dtype if part.tensor is not None else None


def _stacked(source: Source, cut: Cut, argument: ast.expr, spelling: Spelling) -> str | Refusal:
    """`torch.stack` of the items of `argument`."""
    function = names.torch_name(spelling, "stack")
    if isinstance(argument, (ast.List, ast.Tuple)):
        parts = iter(cut.parts)
        return _literal(source, argument, parts, function, spelling)
    if len(cut.parts) != 1:
        return _UNKNOWN
    part = cut.parts[0]
    if isinstance(argument, _COMPREHENSIONS) and not isinstance(argument.elt, (ast.List, ast.Tuple)):
        item = _item(source, argument.elt, part, spelling)
        span, inner = source.span_of(argument), source.span_of(argument.elt)
        if item is None or isinstance(argument, ast.GeneratorExp):
            return _UNUSUAL
        whole = source.text[span.start : inner.start] + item + source.text[inner.end : span.end]
        return f"{function}({whole})"
    if not isinstance(argument, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)):
        return _UNUSUAL
    text = text_of(source, argument)
    if _is_scalar(part):
        return f"{function}({text})"
    name = names.fresh(source, "value", "each", "value")
    return f"{function}([{_flattened(name, part, spelling)} for {name} in {text}])"


def _literal(
    source: Source, argument: ast.List | ast.Tuple, parts: object, function: str, spelling: Spelling
) -> str | Refusal:
    """The items written out: `[a, 2.0]` with numbers as tensors, lists in lists as stacks of stacks."""
    made: list[str] = []
    for node in argument.elts:
        if isinstance(node, (ast.List, ast.Tuple)):
            inner = _literal(source, node, parts, function, spelling)
            if isinstance(inner, Refusal):
                return inner
            made.append(inner)
            continue
        part = next(parts, None)  # type: ignore[call-overload]  # an iterator, shared by the inner lists
        item = None if part is None or isinstance(node, ast.Starred) else _item(source, node, part, spelling)
        if item is None:
            return Refusal(
                RefusalKind.UNKNOWN,
                "not every item is known to be a tensor or a number",
                "build the tensor with `torch.stack`",
            )
        made.append(item)
    return f"{function}([{', '.join(made)}])"


def _item(source: Source, node: ast.expr, part: ValueFacts, spelling: Spelling) -> str | None:
    """One item as a tensor without dimensions."""
    text = text_of(source, node)
    if part.kind is ValueKind.NUMBER:
        return f"{names.torch_name(spelling, 'tensor')}({text})"
    if "\n" in text or isinstance(node, (ast.NamedExpr, ast.Yield, ast.Await)):
        text = f"({text})"
    if _is_scalar(part):
        return text
    return _flattened(text if text.startswith("(") else atom(source, node), part, spelling)


def _flattened(text: str, part: ValueFacts, spelling: Spelling) -> str:
    if part.kind is ValueKind.TENSOR:
        return f"{text}.reshape(())"
    return f"{names.torch_name(spelling, 'as_tensor')}({text}).reshape(())"


def _is_scalar(part: ValueFacts) -> bool:
    return part.kind is ValueKind.TENSOR and part.tensor is not None and part.tensor.rank == 0
