"""The verb `rebind`: a write in place becomes an assignment of a new tensor."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.grounds import twins
from gradfix.rewrite.grounds.dtypes import keeps_dtype
from gradfix.rewrite.grounds.places import (
    is_kept,
    is_single_assignment,
    is_unpacked,
    place_of,
    root_of,
    swaps,
    writes_through_view,
)
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import are_places, enclosing, is_container_item, is_effectless, mentions, short
from gradfix.rewrite.text.scopes import binds_anew
from gradfix.rewrite.views import replays
from gradfix.rewrite.writes import chains, ladder, obstacles, whole
from gradfix.rewrite.writes.ladder import Form
from gradfix.rewrite.writes.telling import tells
from gradfix.source import Source

_CALLS = (WriteForm.METHOD, WriteForm.FUNCTION, WriteForm.FLAG, WriteForm.FOREIGN)
_LENIENT = (Form.ARITHMETIC, Form.PLAIN, Form.TWIN, Form.FUNCTION)  # broadcast and promote what the write refuses
_NO_PLACE = Refusal(
    RefusalKind.NOT_ASSIGNABLE,
    "the tensor has no name that could be given the result",
    "store it under a name first, and put the result back where it came from",
)

_NO_CAST = Refusal(
    RefusalKind.NOT_ASSIGNABLE,
    "the result may come out in a wider dtype, and the tensor has no name whose dtype it could be cast to",
    "store the tensor under a name first",
)
_UNUSUAL = Refusal(
    RefusalKind.SPELLING,
    "the write is spelled as a call of something else than a method of the tensor",
    "write it as a method or a statement: `y.add_(1)`, `y[0] = v`",
)
_SEEN_BETWEEN = Refusal(
    RefusalKind.ORDER,
    "a link of the chain may take a view of the tensor that the links before it have written",
    "make a statement of each link",
)
_BURIED = Refusal(
    RefusalKind.SPELLING,
    "the chain of writing calls stands in the middle of an expression",
    "give its result a name in a statement before",
)
_COMPREHENDED = Refusal(
    RefusalKind.SCOPE,
    "the tensor is a variable of a comprehension, which exists nowhere else",
    "write the comprehension as a loop",
)


def rebind(source: Source, write: Write, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """The ways to write `write` out of place, best first, or why there is none.

    The best is the shortest form that the facts prove equal; cloning the tensor before the write comes last. Building
    one may still end in a `Refusal`, when the statement is spelled in a way that this form can't take.
    """
    refusal = obstacles.refusal(source, write, replayed=True) or swaps(write)
    if refusal is None and write.method is not None and write.form is WriteForm.METHOD:
        refusal = twins.refusal(write.method)
    if refusal is not None:
        return refusal
    forms = _forms(source, write, spelling)
    if isinstance(forms, Refusal):
        return forms
    return tuple(
        Rewrite(
            _title(source, write, form),
            _grade(source, write, form),
            partial(build, form=form, write=write, spelling=spelling),
            form.value,
        )
        for form in forms
    )


def first_form(source: Source, write: Write, spelling: Spelling) -> Form | None:
    """The best spelling of `write`, whoever else holds the tensor; None where there is none."""
    forms = _forms(source, write, spelling)
    return None if isinstance(forms, Refusal) or not forms else forms[0]


def _grade(source: Source, write: Write, form: Form) -> Applicability:
    place = place_of(write)
    if form is Form.PLAIN and not keeps_dtype(write):
        return Applicability.UNSAFE
    renewed = () if place is None else (place, *(view.base for view in replays.replay_of(write).put))
    if any(tells(source, write, one, lenient=form in _LENIENT) for one in renewed):
        return Applicability.UNSAFE
    return obstacles.applicability(write, replayed=True)


def _augmented_forms(source: Source, write: Write) -> tuple[Form, ...]:
    if writes_through_view(write):
        return (Form.CLONE,)
    if write.may_be_number or names.starts_as_number(source, write.statement, write.target):
        return (Form.PLAIN,)  # numbers have neither `clone` nor a dtype
    return (Form.ARITHMETIC, Form.CLONE)


def _forms(source: Source, write: Write, spelling: Spelling) -> tuple[Form, ...] | Refusal:
    if write.form in _CALLS:
        return _call_forms(source, write, spelling)
    if place_of(write) is None:
        return _NO_PLACE
    if write.form is WriteForm.AUGMENTED:
        return _augmented_forms(source, write)
    if write.form is WriteForm.AUGMENTED_INDEX:
        if is_container_item(write.node.target):  # type: ignore[attr-defined]  # an AugAssign
            return (Form.ARITHMETIC,)
        return ladder.augmented_index_forms(write, spelling)
    if write.form is WriteForm.INDEX:
        if is_single_assignment(write):
            return ladder.index_forms(write, spelling)
        return (Form.ONE_BY_ONE, Form.CLONE) if _takes_apart(write) else (Form.CLONE,)
    if write.form is WriteForm.CALL:
        return _UNUSUAL
    return Refusal(
        RefusalKind.HELD, "a write through `.data` is hidden from autograd", "write to the tensor itself, out of place"
    )


def _takes_apart(write: Write) -> bool:
    """A multiple assignment whose values are computed from the tensor that it writes."""
    value, place = getattr(write.node, "value", None), place_of(write)
    if value is None or place is None or are_places(value):
        return False
    return is_unpacked(write) and mentions(value, place)


def _call_forms(source: Source, write: Write, spelling: Spelling) -> tuple[Form, ...] | Refusal:
    chain = chains.chain_of(write, spelling)
    place = place_of(write)
    if any(isinstance(node, ast.Lambda) for node in enclosing(write.statement, chain.top)):
        return Refusal(
            RefusalKind.SCOPE, "the write stands in a lambda, which is run later", "make the lambda a function"
        )
    forms = []
    if write.form is WriteForm.FLAG:
        if _has_flag(chain.top):
            forms.append(Form.FUNCTION)
    elif chain.twins and (place is None or not writes_through_view(write)):
        forms.append(Form.FUNCTION if write.form is WriteForm.FUNCTION else Form.TWIN)
    if place is None:
        used = not isinstance(write.statement, ast.Expr) or write.statement.value is not chain.top
        if any(twin.cast for twin in chain.twins):
            return _NO_CAST
        return tuple(forms) if used and forms and not is_kept(write) else _NO_PLACE
    use = chains.use_of(write.statement, chain.top, place)
    if len(chain.twins) > 1 and replays.replay_of(write) and chains.later_values(chain):
        return _SEEN_BETWEEN
    between = chains.reads_between(source, write, chain, spelling)
    if use is chains.Use.STATEMENT and not between and _is_replayed(write, chain, spelling):
        forms.append(Form.REPLAY)
    if use is chains.Use.STATEMENT and whole.covers(write) and names.can_spell_torch(spelling):
        forms.append(Form.WHOLE if whole.is_equal(write) else Form.REFILL)
    if not forms and use is chains.Use.STATEMENT and whole.fills(write) and names.can_spell_torch(spelling):
        forms.append(Form.FILL)
    buried = use is chains.Use.BURIED
    if buried and forms and isinstance(place, ast.Name) and not replays.replay_of(write):
        buried = not chains.is_forgotten(source, write, chain.top, place)
    if len(chain.twins) > 1:  # a clone made before the statement doesn't part the links
        return _BURIED if buried else tuple(forms)
    if _is_of_comprehension(write.statement, chain.top, place):
        return tuple(forms) if forms and not buried else _COMPREHENDED
    return (Form.CLONE,) if buried else (*forms, Form.CLONE)


def _is_of_comprehension(statement: ast.stmt, call: ast.Call, place: ast.expr) -> bool:
    """Whether the name that is written is a variable of a comprehension: before the statement there is none."""
    root = root_of(place)
    return isinstance(root, ast.Name) and any(binds_anew(node, root.id) for node in enclosing(statement, call))


def _is_replayed(write: Write, chain: chains.Chain, spelling: Spelling) -> bool:
    """`y[0].mul_(2)`, `y.diagonal().zero_()`."""
    if write.form is not WriteForm.METHOD or not writes_through_view(write):
        return False
    filled = write.method in ("fill_", "copy_", "zero_") and len(chains.links_of(chain.top)) == 1
    arguments = [*chain.top.args, *(keyword.value for keyword in chain.top.keywords)]
    pure = all(is_effectless(argument, spelling) for argument in arguments)
    return pure and bool(filled or chain.twins) and ladder.fits_replay(write, spelling)


def _has_flag(call: ast.Call) -> bool:
    """`inplace=True` stands in the call itself, by name or as the last argument, not where a module was made."""
    if len(call.args) > 1 and not call.keywords:
        return isinstance(call.args[-1], ast.Constant) and call.args[-1].value is True
    return any(
        keyword.arg == "inplace" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        for keyword in call.keywords
    )


def _title(source: Source, write: Write, form: Form) -> str:
    place = place_of(write)
    name = short(source, write.target if place is None else place)
    match form:
        case Form.ARITHMETIC | Form.PLAIN:
            return f"Write `{short(source, write.node)}` as an assignment of a new tensor"
        case Form.ONE_BY_ONE:
            return f"Give the values names first, then write to `{name}`"
        case Form.REPLAY:
            return f"Assign `{name}` a tensor that has the write"
        case Form.WHOLE:
            return f"Assign the value to `{name}`"
        case Form.REFILL:
            return f"Put the value into new memory for `{name}`"
        case Form.FILL:
            return f"Assign `{name}` a tensor filled with the number"
        case Form.TWIN if write.method is not None:
            return f"Replace `{write.method}` with `{write.method.removesuffix('_')}`"
        case Form.FUNCTION if write.form is WriteForm.FLAG:
            return "Drop `inplace=True`"
        case Form.FUNCTION if write.method is not None:
            return f"Replace `{write.method}` with `{write.method.removesuffix('_')}`"
        case Form.WHERE:
            return f"Replace the masked write with `torch.where`, assigned to `{name}`"
        case Form.INDEX_PUT:
            return f"Replace the write with `index_put`, assigned to `{name}`"
        case Form.SCATTER:
            axis = ladder.single_axis(write.index)
            function = "slice_scatter" if axis and isinstance(axis[1].node, ast.Slice) else "select_scatter"
            return f"Replace the write with `torch.{function}`, assigned to `{name}`"
        case _ if put := replays.replay_of(write).put:
            return f"Clone `{short(source, put[-1].base)}` before the write, and take `{name}` from the clone"
        case _:
            return f"Clone `{name}` before the write"


def build(source: Source, *, form: Form, write: Write, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that give `write` the spelling `form`."""
    if form is Form.REPLAY:
        from gradfix.rewrite.writes import on_the_spot  # imports LibCST

        made = on_the_spot.build(source, write, spelling)
    elif form in (Form.WHOLE, Form.REFILL):
        made = whole.build(source, write, spelling, refilled=form is Form.REFILL)
    elif form is Form.FILL:
        made = whole.build_filled(source, write, spelling)
    elif write.form in _CALLS:
        from gradfix.rewrite.writes import calls  # imports LibCST

        made = calls.build(source, form, write, spelling)
    else:
        from gradfix.rewrite.writes import assignments  # imports LibCST

        made = assignments.build(source, form, write, spelling)
    return (
        made if isinstance(made, Refusal) else replays.follow(source, write, made, spelling, cloned=form is Form.CLONE)
    )
