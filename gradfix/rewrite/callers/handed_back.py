"""The verb `hand_back`: a function that writes to its argument returns it, and its callers give the name the result."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from gradfix.analysis.facts import Obstacle, ObstacleKind, Spelling, Write
from gradfix.edits import Edit, normalise
from gradfix.errors import EditError
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.callers.call_sites import CallSite, call_site, edits_of_call, takes_flat
from gradfix.rewrite.callers.definitions import Definition, calls_of, definition_around, is_forward_hook, is_private
from gradfix.rewrite.callers.returns import Returned, binds_only_in_place, edits_of_returns, returned_by
from gradfix.rewrite.grounds.places import place_of
from gradfix.rewrite.writes.rebind import rebind
from gradfix.rewrite.writes.updates import OF_LEAVES
from gradfix.source import Source

HANDED_BACK = "handed-back"  # the form of these rewrites


@dataclass(frozen=True, slots=True)
class _Handing:
    """A function that comes to return one of its parameters, and all its calls."""

    definition: Definition
    parameter: str
    returned: Returned
    sites: tuple[CallSite, ...]
    in_place: bool  # the parameter stands for what was handed over until the function ends

    @property
    def flat(self) -> bool:
        """Whether the parameter joins the tuple that is returned, rather than standing beside it."""
        return self.returned.width is not None and all(takes_flat(site, self.returned) for site in self.sites)


def hand_back(source: Source, write: Write, spelling: Spelling) -> Rewrite | None:
    """Return the parameter that `write` changes, and let every caller rebind what it handed over.

    None where the target is no parameter, where not all calls are seen, or where some call can't take the result.
    Safe where nothing outside of the file calls the function, and nobody else holds the tensor.
    """
    place = place_of(write)
    if not write.hazards or not isinstance(place, ast.Name) or any(h.kind in OF_LEAVES for h in write.hazards):
        return None
    definition = definition_around(source, place) if write.calls else None
    handings = None
    if definition is not None:
        handings = _by_modules(source, definition, place.id, write) or _handings(source, definition, place.id, write)
    if handings is None or definition is None:
        return None
    edits = _edits_of_handing(source, handings, spelling)
    left = tuple(o for o in write.obstacles if not _is_settled(source, o, handings, write.calls))
    handed_on = not handings[0].returned.is_itself
    made = rebind(source, replace(write, obstacles=left, handed_on=handed_on), spelling)
    if edits is None or isinstance(made, Refusal) or not made:
        return None
    private = all(is_private(source, handing.definition) for handing in handings)
    safe = private and made[0].applicability is Applicability.SAFE
    return Rewrite(
        f"Return `{place.id}` from `{definition.node.name}`, and give it to the callers",
        Applicability.SAFE if safe else Applicability.UNSAFE,
        partial(_build, rewrites=made, edits=edits),
        HANDED_BACK,
    )


def _by_modules(source: Source, definition: Definition, parameter: str, write: Write) -> tuple[_Handing, ...] | None:
    """A forward hook that writes to the result it is given: modules take what it returns instead."""
    returned = returned_by(definition, parameter)
    given = [argument.arg for argument in definition.parameters[definition.is_method :]]
    if returned is None or not returned.nothing or given[2:] != [parameter]:
        return None
    if not is_forward_hook(source, definition):
        return None
    return (_Handing(definition, parameter, returned, (), binds_only_in_place(definition, parameter, write.statement)),)


def _handings(source: Source, definition: Definition, parameter: str, write: Write) -> tuple[_Handing, ...] | None:
    """The function, and those callers that only hand on a parameter of their own; None where one of them can't."""
    found: dict[int, _Handing] = {}
    waiting = [(definition, parameter)]
    while waiting:
        one, name = waiting.pop()
        if id(one.node) in found:
            if found[id(one.node)].parameter != name:
                return None
            continue
        calls, returned = calls_of(source, one, write.calls), returned_by(one, name)
        if one.parameter(name) is None or returned is None or not calls:
            return None
        sites = [call_site(source, call, one, name) for call in calls]
        known = tuple(site for site in sites if site is not None)
        if len(known) < len(sites):
            return None
        in_place = binds_only_in_place(one, name, write.statement)
        found[id(one.node)] = _Handing(one, name, returned, known, in_place)
        for site in known:
            outer = definition_around(source, site.call)
            if isinstance(site.place, ast.Name) and outer is not None and outer.parameter(site.place.id) is not None:
                waiting.append((outer, site.place.id))
    return tuple(found.values())


def _edits_of_handing(source: Source, handings: tuple[_Handing, ...], spelling: Spelling) -> tuple[Edit, ...] | None:
    edits: list[Edit] = []
    for handing in handings:
        made = edits_of_returns(
            source, handing.definition, handing.parameter, handing.returned, spelling, flat=handing.flat
        )
        if isinstance(made, Refusal):
            return None
        for site in handing.sites:
            handed_on = _is_handed_on(source, site, handings)
            taken = edits_of_call(source, site, handing.returned, flat=handing.flat, handed_on=handed_on)
            if taken is None:
                return None
            made = made + taken
        if made and not handing.in_place:
            return None
        edits += made
    return tuple(edits)


def _is_handed_on(source: Source, site: CallSite, handings: tuple[_Handing, ...]) -> bool:
    """Whether the function around a call returns what it hands over, too."""
    outer = definition_around(source, site.call)
    return outer is not None and any(
        h.definition.node is outer.node and isinstance(site.place, ast.Name) and h.parameter == site.place.id
        for h in handings
    )


def _is_settled(source: Source, obstacle: Obstacle, handings: tuple[_Handing, ...], calls: Sequence[ast.Call]) -> bool:
    """Whether what stands against a plain rebinding doesn't any more once the callers get the result."""
    if obstacle.kind is ObstacleKind.ARGUMENT_READ:
        return True
    if obstacle.kind is not ObstacleKind.CALLER_SEES:
        return False
    handing = {id(h.definition.node) for h in handings if h.parameter == obstacle.name}
    callers = [definition_around(source, call) for call in calls]
    named = {id(d.node) for d in callers if d is not None and d.parameter(obstacle.name) is not None}
    return bool(handing) and named <= handing


def _build(source: Source, *, rewrites: Sequence[Rewrite], edits: tuple[Edit, ...]) -> tuple[Edit, ...] | Refusal:
    built: tuple[Edit, ...] | Refusal = Refusal(RefusalKind.NO_FORM, "no form of the write fits")
    for rewrite in rewrites:
        built = rewrite.build(source)
        if not isinstance(built, Refusal):
            break
    if isinstance(built, Refusal):
        return built
    try:
        return normalise([*built, *edits])
    except EditError:
        return Refusal(
            RefusalKind.SPELLING,
            "the write stands where its result would be handed back",
            "return the changed tensor by hand, and give callers the result",
        )
