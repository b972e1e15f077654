"""A write through a view, replayed: the new view is put back into its base, and other views of the base taken again.

After `row = row + 1` the base is made anew, `y = torch.select_scatter(y, row, 0, 0)`; `col = y[:, 1]`, which was taken
before and is read later, is taken again. Names are all that is renewed: whoever else holds the memory and is read later
remains an obstacle.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from gradfix.analysis.facts import Obstacle, ObstacleKind, Spelling, Write
from gradfix.analysis.view_facts import NamedView
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.grounds.places import place_of
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.fresh_clones import clone_before
from gradfix.rewrite.text.pieces import text_of
from gradfix.rewrite.views.view_steps import put_back, restricts
from gradfix.source import Source, Span

HOLDERS = (ObstacleKind.ALIAS_READ, ObstacleKind.BASE_READ)
WIDTH = 88  # a line that one statement may fill when two are made one

_COMPOUND = (ast.If, ast.While, ast.For, ast.AsyncFor, ast.With, ast.AsyncWith, ast.Match, ast.Return, ast.Assert)
_NO_ROOM = Refusal(
    RefusalKind.SPELLING,
    "views of the tensor are read later and would have to be taken again, for which there is no place behind the write",
    "give the result of the write a name in a statement of its own",
)
_NO_LINE = Refusal(
    RefusalKind.NO_FORM,
    "no one operation puts the view back into its base",
    "the clone form writes to a copy of the base",
)
_BROKEN = Refusal(RefusalKind.SPELLING, "a view is spelled over several lines", "take it in one line")


@dataclass(frozen=True, slots=True)
class Replay:
    """What follows a write that is made an assignment."""

    put: tuple[NamedView, ...] = ()  # the target back into its base, that into its own
    taken: tuple[NamedView, ...] = ()  # again, bases first

    @property
    def is_tied(self) -> bool:
        """Whether what was put back is taken again, so that it shows what is written to the base."""
        return any(view in self.taken for view in self.put)

    def __bool__(self) -> bool:
        return bool(self.put or self.taken)


def replay_of(write: Write) -> Replay:
    """What has to follow, so that whoever is given the write by a replay sees it."""
    place = place_of(write)
    if place is None:
        return Replay()
    views = {view.name: view for view in write.views.named}
    chain = _chain(views, ast.unparse(place))
    wanted = {o.replay for o in write.obstacles if o.kind in HOLDERS and o.replay is not None}
    taken: dict[str, NamedView] = {}
    depth = max((chain.index(name) for name in wanted if name in chain), default=0)
    for name in sorted(wanted - set(chain)):
        found = _taken(views, chain, name)
        taken |= {view.name: view for view in found}
        depth = max([depth, *(chain.index(base) for v in found if (base := ast.unparse(v.base)) in chain)])
    put = tuple(views[name] for name in chain[:depth])
    handed = write.views.handed_out.intersection([*chain[: depth + 1], *taken])
    tied = write.views.is_followed or (len(handed) > 1 and not handed.isdisjoint(chain[:depth]))
    again = tuple(reversed(put)) if tied else ()
    return Replay(put, (*again, *taken.values()))


def resolves(write: Write, obstacle: Obstacle) -> bool:
    """Whether `obstacle` is none once `write` is replayed."""
    if obstacle.kind not in HOLDERS or obstacle.replay is None or (place := place_of(write)) is None:
        return False
    views = {view.name: view for view in write.views.named}
    chain = _chain(views, ast.unparse(place))
    return obstacle.replay in chain or bool(_taken(views, chain, obstacle.replay))


def _chain(views: dict[str, NamedView], place: str) -> list[str]:
    """`place`, what it is a view of, what that is a view of."""
    chain = [place]
    while chain[-1] in views and (base := ast.unparse(views[chain[-1]].base)) not in chain:
        chain.append(base)
    return chain


def taken_from(writes: Sequence[Write], base: str) -> list[NamedView]:
    """The views that are read after these writes and can be taken again once `base` has them, bases first."""
    found: dict[str, NamedView] = {}
    for write in writes:
        views = {view.name: view for view in write.views.named}
        wanted = {o.replay for o in write.obstacles if o.kind in HOLDERS and o.replay is not None}
        for name in sorted(wanted - {base}):
            found |= {view.name: view for view in _taken(views, [base], name)}
    return list(found.values())


def _taken(views: dict[str, NamedView], chain: Sequence[str], name: str) -> list[NamedView]:
    """The views to take again for `name`, bases first, from what the chain renews; none where it isn't renewed."""
    found: list[NamedView] = []
    while name not in chain:
        if name not in views or views[name] in found:
            return []
        found.insert(0, views[name])
        name = ast.unparse(views[name].base)
    return found


def clones(source: Source, write: Write) -> list[str]:
    """The statements that make the write go to new memory: a clone of what the views start from, and its views."""
    replay, place = replay_of(write), place_of(write)
    assert place is not None
    root = text_of(source, replay.put[-1].base if replay.put else place)
    views = [*reversed(replay.put), *(view for view in replay.taken if view not in replay.put)] if replay.put else []
    return [f"{root} = {root}.clone()", *(f"{view.name} = {text_of(source, view.view)}" for view in views)]


def cloned(source: Source, write: Write) -> tuple[Edit, ...]:
    """The same as edits, the clone in the statement that makes what is cloned where that stands just before."""
    replay, place = replay_of(write), place_of(write)
    assert place is not None
    _, *views = clones(source, write)
    root = text_of(source, replay.put[-1].base if replay.put else place)
    return clone_before(source, write.statement, root, views)


def cloned_early(source: Source, write: Write) -> tuple[Edit, ...] | None:
    """A clone of the base before its views are taken, where nothing saves it between that and the write."""
    replay = replay_of(write)
    views = (*replay.put, *replay.taken)
    taken = [view.taken for view in views if view.taken is not None]
    ends = [source.span_of(view.until).end for view in views if view.until is not None]
    if not replay.put or len(taken) < len(views) or len(ends) < len(views):
        return None
    first = min(taken, key=lambda statement: (statement.lineno, statement.col_offset))
    between = Span(source.span_of(first).start, max(ends))
    if any(between.contains(source.span_of(s)) for s in write.views.earlier if s is not write.statement):
        return None  # whoever holds the base itself sees those
    if any(hazard.save is not None and between.contains(hazard.save.span) for hazard in write.hazards):
        return None
    return clone_before(source, first, text_of(source, replay.put[-1].base))


def renewed(write: Write) -> list[ast.expr]:
    """What a clone form gives new memory: the target, and the names and bases of the views that go with it."""
    replay, place = replay_of(write), place_of(write)
    views = (*replay.put, *replay.taken)
    found = [node for view in views for node in (ast.Name(view.name, ast.Load()), view.base)]
    return found if place is None else [place, *found]


def follow(
    source: Source, write: Write, edits: tuple[Edit, ...], spelling: Spelling, *, cloned: bool
) -> tuple[Edit, ...] | Refusal:
    """`edits`, which make `write` an assignment, or a write to clones, with what has to follow it.

    What they put behind the statement, as `q = row` of `q = row.abs_()`, comes last: `q` is `row` as taken again.
    """
    replay = replay_of(write)
    if not replay:
        return edits
    site = sites.site_of(source, write.statement)
    views = (*replay.put, *replay.taken)
    if any("\n" in text_of(source, view.view) or "\\" in text_of(source, view.view) for view in views):
        return _BROKEN
    if cloned and replay.put:
        return edits
    if isinstance(write.statement, _COMPOUND):
        return _NO_ROOM
    lines = [_put(source, view, view.name, spelling) for view in replay.put]
    end = site.span.end
    uses = [edit for edit in edits if edit.span == Span(end, end)]
    joined = None if uses else _joined(source, write, replay, edits, site, spelling)
    if joined is not None:
        edits, lines = joined, lines[1:]
    if any(line is None for line in lines):
        return _NO_LINE
    lines += [f"{view.name} = {text_of(source, view.view)}" for view in replay.taken]
    behind = tuple(Edit(Span(end, end), f"{site.separator}{line}") for line in lines)
    imports = names.import_torch(source, spelling, " ".join(edit.text for edit in (*behind, *edits)))
    edits = tuple(edit for edit in edits if edit not in uses)
    return (*edits, *behind, *uses, *(edit for edit in imports if edit not in edits))


def _put(source: Source, view: NamedView, new: str, spelling: Spelling) -> str | None:
    """The statement that puts the new value of `view` into its base."""
    if not names.can_spell_torch(spelling):
        return None
    value = put_back(source, view.view, view.base, new, spelling)
    if value is None or value.count("_scatter(") > 1:  # one in another: nobody reads that
        return None
    return f"{text_of(source, view.base)} = {value}"


def _joined(
    source: Source, write: Write, replay: Replay, edits: tuple[Edit, ...], site: sites.Site, spelling: Spelling
) -> tuple[Edit, ...] | None:
    """`y = torch.select_scatter(y, row + 1, 0, 0)`, where nobody reads `row` any more; None where two lines it is."""
    own = [edit for edit in edits if edit.span == site.span]
    if not replay.put or len(own) != 1:
        return None
    view, text = replay.put[0], own[0].text
    if any(view.name in (taken.name, ast.unparse(taken.base)) for taken in replay.taken) or not text.startswith(
        f"{view.name} = "
    ):
        return None
    if "\n" in text or "#" in text or not names.is_dead_after(source, write.statement, view.name):
        return None
    value = text.removeprefix(f"{view.name} = ")
    line = _put(source, view, _uncast(value, view.name) if restricts(view.view) else value, spelling)
    column = source.position(site.span.start).column
    if line is None or column + len(line) > WIDTH:
        return None
    return tuple(Edit(edit.span, line) if edit is own[0] else edit for edit in edits)


def _uncast(value: str, name: str) -> str:
    """`row + v` of `(row + v).to(row.dtype)`: what is put into a part of the base is cast anyway."""
    call = ast.parse(value, mode="eval").body
    if not isinstance(call, ast.Call) or ast.unparse(call).partition(".to(")[2] != f"{name}.dtype)":
        return value
    inner = ast.get_source_segment(value, call.func.value) if isinstance(call.func, ast.Attribute) else None
    return value if inner is None else inner
