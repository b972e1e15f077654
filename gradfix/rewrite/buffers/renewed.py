"""The verb `make_anew`: a buffer that each round of a loop fills before it reads it is made in the round.

What an earlier round has saved is another tensor then, and nothing is copied. Nobody sees a difference where every
round writes the same places: what is left of the round before is what the buffer was made with. Nor where every round
begins with writing that to all of it, which needn't be done then.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import partial

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.scopes import Parents, parents
from gradfix.edits import Edit
from gradfix.findings import Applicability, Earlier, HazardKind, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.buffers.lasting import MAKERS
from gradfix.rewrite.buffers.rounds import Rounds
from gradfix.rewrite.grounds.places import is_single_assignment, root_of
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_effectless
from gradfix.rewrite.text.pieces import text_of
from gradfix.rewrite.text.scope_uses import end_of, start_of
from gradfix.rewrite.writes import obstacles
from gradfix.source import Source

FORM = "renew"
_CONTENTS = {"zeros": 0, "ones": 1}
_LEAVING = (ast.Break, ast.Continue, ast.Return, ast.Raise, ast.Try, ast.While, ast.Yield, ast.YieldFrom, ast.Await)
_DEFAULTS = frozenset({"set_default_dtype", "set_default_device", "set_default_tensor_type"})
_TELLING = frozenset({"data_ptr", "_version", "storage", "untyped_storage"})
_NO_LINE = Refusal(RefusalKind.SPELLING, "the buffer is made on a line with more", "put it on a line of its own")

Loop = ast.For | ast.While


def make_anew(source: Source, write: Write, writes: Sequence[Write], spelling: Spelling) -> Rewrite | None:
    """The fix that makes the buffer of `write`, one of all `writes` of the file, in each round; else None."""
    name = root_of(write.target)
    if not isinstance(name, ast.Name) or not write.hazards:
        return None
    own = [one for one in writes if one.function == write.function and _holder(one) == name.id]
    if not all(_is_of_earlier_round(one) and _is_unseen(source, one) for one in own):
        return None
    found = _statements(source, name.id, write, own, spelling)
    if found is None:
        return None
    created, first = found
    title = f"Make `{name.id}` anew in each round of the loop"
    return Rewrite(title, Applicability.SAFE, partial(_build, created=created, first=first), FORM)


def _build(source: Source, *, created: ast.stmt, first: ast.stmt) -> tuple[Edit, ...] | Refusal:
    """The edits that take the statement `created` away, and put it before `first`, or in its place if that clears."""
    site, gone, text = sites.site_of(source, first), sites.removed(source, created), text_of(source, created)
    if gone is None or not site.is_alone or "\n" in text:
        return _NO_LINE
    clears = isinstance(created, ast.Assign) and _clears(first, created)
    return (gone, *(sites.replace(site, [text]) if clears else sites.prepend(site, [text])))


def _holder(write: Write) -> str | None:
    """The name that a write reaches its tensor by."""
    node = root_of(write.target)
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_of_earlier_round(write: Write) -> bool:
    """Whether nothing is wrong with it but that an earlier round needs the buffer."""
    return all(
        hazard.kind is HazardKind.SAVED_THEN_WRITTEN and hazard.earlier is Earlier.ROUND for hazard in write.hazards
    )


def _is_assignment(write: Write) -> bool:
    """`y[i] = v`."""
    return write.form is WriteForm.INDEX and isinstance(write.target, ast.Name) and is_single_assignment(write)


def _clears(statement: ast.stmt, created: ast.Assign) -> bool:
    """Whether a statement gives every element what the buffer was made with: `y.zero_()`, `y.fill_(1)`."""
    call, target = getattr(statement, "value", None), created.targets[0]
    function = created.value.func if isinstance(created.value, ast.Call) else None
    made = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if not isinstance(statement, ast.Expr) or not isinstance(call, ast.Call) or call.keywords:
        return False
    if not isinstance(call.func, ast.Attribute) or not isinstance(target, ast.Name):
        return False
    if not isinstance(call.func.value, ast.Name) or call.func.value.id != target.id:
        return False
    given = [part.value if isinstance(part, ast.Constant) else None for part in call.args]
    number: object = 0 if call.func.attr == "zero_" and not given else None
    if call.func.attr == "fill_" and len(given) == 1:
        number = given[0] if type(given[0]) in (int, float) else None
    return number is not None and number == _CONTENTS.get(made.removeprefix("new_").removesuffix("_like"))


def _is_unseen(source: Source, write: Write) -> bool:
    """Whether nobody but the buffer's name holds what is written."""
    return obstacles.refusal(source, write) is None and obstacles.applicability(write) is Applicability.SAFE


def _statements(
    source: Source, name: str, write: Write, own: Sequence[Write], spelling: Spelling
) -> tuple[ast.Assign, ast.stmt] | None:
    """The one that makes the buffer, and the first one of a round that mentions it."""
    around, scope = parents(names.tree_of(source)), names.scope_of(source, write.statement)
    bindings = around.bindings_in(scope)
    if isinstance(scope, ast.ClassDef) or name in bindings.parameters or bindings.is_seen_elsewhere(name):
        return None
    stores = [node for node in bindings.stores.get(name, ()) if not isinstance(around.of(node), ast.AugAssign)]
    created = around.of(stores[0]) if len(stores) == 1 else None
    mentions = [node for node in bindings.names.get(name, ()) if node not in stores]
    if not isinstance(created, ast.Assign) or not _is_maker(created, spelling) or not mentions:
        return None
    loops = _loops(around, created, mentions)
    if not loops:
        return None
    rounds = Rounds(around, bindings, loops[-1], created, spelling)
    if not rounds.keep(created.value) or _sets_default(source, around, created) or _is_told_apart(around, mentions):
        return None
    first = _mentioning(loops[0], mentions)[0]
    if not _clears(first, created):
        written = {start_of(one.target) for one in own} if all(map(_is_assignment, own)) else set()
        filling = _first_filling(loops[0], mentions, written, rounds)
        return None if filling is None else (created, filling)
    return created, first


def _sets_default(source: Source, around: Parents, created: ast.stmt) -> bool:
    """Whether what a constructor makes may be of another kind later: it is said behind `created`, or in a function."""
    if not any(name in source.text for name in _DEFAULTS):
        return False
    return any(
        getattr(node, "attr", getattr(node, "id", None)) in _DEFAULTS
        and (start_of(node) > start_of(created) or not isinstance(around.scope(node), ast.Module))
        for node in every_node(names.tree_of(source))
        if isinstance(node, (ast.Attribute, ast.Name))
    )


def _is_told_apart(around: Parents, mentions: Sequence[ast.Name]) -> bool:
    """Whether a tensor is asked which one it is, or is given something to remember."""
    for node in mentions:
        outer = around.of(node)
        if isinstance(outer, ast.Attribute) and (outer.attr in _TELLING or not isinstance(outer.ctx, ast.Load)):
            return True
        if isinstance(outer, ast.Call) and isinstance(outer.func, ast.Name) and outer.func.id in ("id", "getattr"):
            return True
    return False


def _is_maker(created: ast.Assign, spelling: Spelling) -> bool:
    """A constructor that takes only sizes, kinds and numbers from what it is given."""
    call = created.value
    if len(created.targets) != 1 or not isinstance(call, ast.Call) or not is_effectless(call, spelling):
        return False
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return function in MAKERS and all(k.arg in ("dtype", "device", "size", "fill_value") for k in call.keywords)


def _loops(around: Parents, created: ast.stmt, mentions: Sequence[ast.Name]) -> list[Loop]:
    """The loops around all mentions, behind the statement that makes the buffer in its block; innermost first."""
    found: list[Loop] = []
    for node in around.up(mentions[0]):
        if isinstance(node, (ast.For, ast.While)) and (found or _holds(node, mentions)):
            found.append(node)
        elif found and not isinstance(node, ast.If):
            return []  # a block of `with` may make tensors of another kind
        if found and any(node is other for other in around.block(created)):
            return found if start_of(created) < start_of(found[-1]) and found[-1] is node else []
    return []


def _holds(loop: Loop, mentions: Sequence[ast.Name]) -> bool:
    first, last = start_of(loop.body[0]), end_of(loop.body[-1])
    return all(first <= start_of(node) < last for node in mentions)


def _mentioning(loop: Loop, mentions: Sequence[ast.Name]) -> list[ast.stmt]:
    return [s for s in loop.body if any(start_of(s) <= start_of(node) < end_of(s) for node in mentions)]


def _first_filling(
    loop: Loop, mentions: Sequence[ast.Name], written: set[tuple[int, int]], rounds: Rounds
) -> ast.stmt | None:
    """The first statement of a round that mentions the buffer, where all writes come before all that reads it."""
    holding = _mentioning(loop, mentions)
    writing = [s for s in holding if any(start_of(s) <= place < end_of(s) for place in written)]
    if not writing or holding[: len(writing)] != writing:
        return None
    end = end_of(writing[-1])
    early = [node for node in mentions if start_of(node) < end]
    if any(start_of(node) not in written for node in early) or len(early) != len(written):
        return None
    between = [s for s in loop.body if start_of(writing[0]) <= start_of(s) < end]
    if any(isinstance(node, _LEAVING) for s in between for node in every_node(s)):
        return None
    return writing[0] if all(rounds.writes_alike(node, loop) for node in early) else None
