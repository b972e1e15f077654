"""The verb `reconnect`: the value that goes on without its graph goes on with it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial

from gradfix.analysis.cut_kinds import CutEffect, CutKind, Elsewhere
from gradfix.analysis.facts import Cut, ModuleFacts, Spelling
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.cuts import arrays, modes, plain_values, stacking
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import enclosing, short
from gradfix.rewrite.text.scope_uses import start_of
from gradfix.source import Source

Edits = tuple[Edit, ...]
_Build = Callable[[Source, Cut, Spelling], Edits | Refusal]

_TITLES = {
    CutKind.TENSOR: "Build the tensor from the tensors of `{text}` themselves",
    CutKind.NUMBER: "Compute with the tensor behind `{text}`",
    CutKind.DATA: "Leave out `.data` in `{text}`",
    CutKind.DETACH: "Leave out the detach in `{text}`",
    CutKind.GRADIENTS_OFF: "Compute what the loss needs with gradients on",
    CutKind.PARAMETER: "Use the tensor inside `{text}`",
}
_UPDATE = "Have the block update the leaves themselves"
_DETOUR = "Compute in torch what NumPy computes from `{text}`"
_MAKERS = frozenset({"tensor", "as_tensor", "asarray", "new_tensor", "Tensor", "FloatTensor", "DoubleTensor"})
_LINEAR = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def reconnect(source: Source, cut: Cut, facts: ModuleFacts) -> tuple[Rewrite, ...] | Refusal:
    """Ways to undo `cut`.

    Safe only where backward raises today, nothing else stands between the leaves and the loss that would be left, and
    the values stay the same bit for bit.
    """
    if cut.origin is not None:
        return _elsewhere(cut.origin)
    build = _way(cut)
    if build is None:
        return _REFUSALS[cut.kind]
    tried = build(source, cut, facts.spelling)
    if isinstance(tried, Refusal):
        return _FOR_NUMPY if cut.kind is CutKind.NUMBER and cut.through_numpy else tried
    applicability = Applicability.SAFE if _is_safe(source, cut, facts) else Applicability.UNSAFE
    title = _UPDATE if modes.is_update(cut) else _DETOUR if cut.through_numpy else _TITLES[cut.kind]
    title = title.format(text=short(source, cut.node))
    return (Rewrite(title, applicability, partial(_build, build=build, cut=cut, spelling=facts.spelling)),)


def _elsewhere(there: Elsewhere) -> Refusal:
    return Refusal(
        RefusalKind.ELSEWHERE,
        f"the graph ends in {there.file}, line {there.line}",
        f"change `{there.text}` there, so that it hands on the tensor itself",
    )


def _build(source: Source, *, build: _Build, cut: Cut, spelling: Spelling) -> Edits | Refusal:
    edits = build(source, cut, spelling)
    left = _no_longer_asked(source, cut)
    if isinstance(edits, Refusal) or isinstance(left, Refusal):
        return edits if isinstance(edits, Refusal) else left
    return (*edits, *left)


def _no_longer_asked(source: Source, cut: Cut) -> Edits | Refusal:
    """`loss.requires_grad = True` goes: of what was computed, which the loss is then, torch takes no such setting."""
    asked = cut.asked
    if not isinstance(asked, (ast.Attribute, ast.Call)):
        return ()
    block = names.block_around(source, asked)
    statement = next((s for s in block if start_of(s) == start_of(asked)), None)
    asking = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "value", None)]
    if statement is None or [ast.dump(part) for part in asking if part is not None] != [ast.dump(asked)]:
        return ()
    edit = sites.removed(source, statement) if len(block) > 1 else None
    if edit is None:
        return _SETTING if isinstance(asked, ast.Attribute) else ()
    return (edit,)


def _way(cut: Cut) -> _Build | None:
    match cut.kind:
        case CutKind.TENSOR:
            return arrays.reconnected if cut.op == "from_numpy" else stacking.reconnected
        case CutKind.NUMBER | CutKind.DATA | CutKind.DETACH:
            return arrays.reconnected if cut.through_numpy else plain_values.reconnected
        case CutKind.GRADIENTS_OFF:
            return modes.reconnected
        case _:
            return None


_SETTING = Refusal(
    RefusalKind.SPELLING,
    "`requires_grad` of the loss is set, which torch refuses of what was computed",
    "leave that out, on a line of its own",
)
_FOR_NUMPY = Refusal(
    RefusalKind.UNKNOWN,
    "the number goes into a function of NumPy, which takes no tensor with a graph",
    "collect the tensors themselves, and compute with torch: `torch.stack(losses).mean()`",
)
_REFUSALS = {
    CutKind.PARAMETER: Refusal(
        RefusalKind.LEAF,
        "an `nn.Parameter` is a leaf: what it was computed from gets no gradient",
        "make parameters in `__init__`, and compute with them as they are",
    ),
    CutKind.DISCRETE: Refusal(RefusalKind.NO_FORM, "what it computes has no gradient"),
    CutKind.FLAT: Refusal(RefusalKind.NO_FORM, "the function is flat, its gradient is zero"),
    CutKind.NO_LEAF: Refusal(
        RefusalKind.MEANING,
        "nothing that the loss is computed from requires grad",
        "make the tensors that are to be learnt or differentiated with `requires_grad=True`, and use them",
    ),
}


def _is_safe(source: Source, cut: Cut, facts: ModuleFacts) -> bool:
    return all(_is_exact(source, peer, facts) for peer in _peers(cut, facts))


def _peers(cut: Cut, facts: ModuleFacts) -> list[Cut]:
    """Everything that cuts the same loss."""
    return [peer for peer in facts.cuts if peer.loss.span == cut.loss.span] if not cut.alone else [cut]


def _is_exact(source: Source, cut: Cut, facts: ModuleFacts) -> bool:
    """Whether undoing this one cut alone changes no value, in a program that raises today."""
    if (
        cut.origin is not None
        or cut.effect not in (CutEffect.NO_GRAPH, CutEffect.NUMBER)
        or not cut.same_function
        or cut.elsewhere
    ):
        return False
    if cut.kind is CutKind.TENSOR:
        return True
    if cut.through_numpy:
        return arrays.is_exact(source, cut)
    if cut.kind is CutKind.DATA:
        return not _is_written(cut, facts)
    return cut.kind is CutKind.NUMBER and _keeps_dtype(cut)


def _is_written(cut: Cut, facts: ModuleFacts) -> bool:
    """Whether the module writes in place to what has the name of the tensor or of what it is assigned to."""
    assigned = cut.statement.targets if isinstance(cut.statement, ast.Assign) else []
    held = {ast.unparse(target) for target in assigned} | {"" if cut.argument is None else ast.unparse(cut.argument)}
    return any(ast.unparse(write.target) in held for write in facts.writes)


def _keeps_dtype(cut: Cut) -> bool:
    """Whether the number goes straight into a tensor whose dtype doesn't depend on it."""
    if cut.in_numbers or cut.op not in ("item", "float", "tolist"):
        return False
    around = enclosing(cut.statement, cut.node)
    outer = around[-1] if around else None
    if isinstance(outer, ast.AugAssign) and isinstance(outer.op, _LINEAR):
        return cut.effect is CutEffect.NO_GRAPH  # of a tensor, which keeps its dtype
    call = next((n for n in reversed(around) if not isinstance(n, (ast.List, ast.ListComp, ast.keyword))), None)
    if not isinstance(call, ast.Call) or not isinstance(call.func, (ast.Attribute, ast.Name)):
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
    tensor = None if cut.value is None else cut.value.tensor
    fixed = any(k.arg == "dtype" for k in call.keywords) or name in ("new_tensor", "FloatTensor")
    return name in _MAKERS and (fixed or (tensor is not None and tensor.dtype == "float32"))
