"""Classes of other files, followed as those of this one: what stands there is read as if it stood where it is called.

Each call of this file that leads there gets a copy of what it runs, whose places are its own: graphs, saves and views
that are made in it are told at the call. What is written there is told there, too (`hazards.abroad`); other facts that
only the other file could mend are told where it is checked itself.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gradfix.analysis.domain.abroad import Country, Home, Origin
from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.machine import Machine, Scope
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Class, Const, Function, Instance, Symbol, Value
from gradfix.analysis.imports import Definition, Described
from gradfix.analysis.interpreter import foreign, inherited
from gradfix.analysis.text.patches import patched
from gradfix.analysis.text.relocated import relocated
from gradfix.analysis.text.survey import spells_a_change


def adopted(m: Machine, state: State, described: Described, name: str) -> Class | None:
    """A class of another file as one whose objects can be followed; None where its text doesn't tell enough."""
    definition = described.definition()
    return _adopted(m, state, definition, name) if definition is not None and definition.is_whole else None


def called(
    m: Machine,
    state: State,
    owner: Instance,
    name: str,
    args: Sequence[Value],
    keywords: dict[str, Value],
    at: ast.Call,
    of: Instance | None = None,
) -> Value | None:
    """What a method from another file gives, None where nothing is known. `of`: the module that is called."""
    method = inherited.method(m, owner, name)
    if method is not None:
        return foreign.call(m, state, method, args, keywords, at, of=of)
    own = _template(m, state, owner, name)
    return None if own is None else m.call_function(state, own, args, keywords, at)


def _template(m: Machine, state: State, owner: Instance, name: str) -> Function | None:
    """A method from another file that asks the object for what its own class has put in the place of another.

    Where neither it nor these write anything, or go back, there is nothing to follow it for.
    """
    for base, qualified in inherited.bases(m, owner.info):
        if base.method(name) is not None:
            put = inherited.overridden(base, owner, name)
            definition = base.definition() if put else None
            made = None if definition is None else _adopted(m, state, definition, qualified)
            found = None if made is None else made.info.method(name)
            if found is None or owner.info is None or isinstance(found.node, ast.Lambda) or found.node.decorator_list:
                return None
            methods = (found, *filter(None, map(owner.info.method, put)))
            changes = any(spells_a_change(one.node) for one in methods if not isinstance(one.node, ast.Lambda))
            return m.defined.bound(found, owner) if changes else None
    return None


def _adopted(m: Machine, state: State, definition: Definition, name: str) -> Class | None:
    known = name if m.imports is None else m.imports.absolute(name)
    if known not in m.defined.adopted:
        m.defined.adopted[known] = _adopt(m, state, definition, known)
    made = m.defined.adopted[known]
    if made is not None:
        holder = m.defined.statics[made.info]
        if holder not in state.attributes:  # another way through the file
            state.attributes[holder] = dict(m.defined.constants.get(made.info, {}))
    return made


def _adopt(m: Machine, state: State, definition: Definition, name: str) -> Class | None:
    tree = ast.parse(definition.text)
    ast.increment_lineno(tree, definition.line - 1)
    frame = m.new_frame()
    names: dict[str, Value] = {local: Symbol(target) for local, target in definition.symbols}
    here = patched(m.tree)
    others = {attribute for _, attribute in here}
    names.update((local, Const(value)) for local, value in definition.constants if local not in others)
    m.defined.abroad[frame] = Country(definition.file, names)
    with m.inside(Scope("<module>", (frame,), None)):
        m.run_block(state, tree.body)
    made = state.variables.get((frame, getattr(tree.body[0], "name", "")))
    if not isinstance(made, Class):
        return None
    m.defined.named[made.info] = name
    slots = state.slots(m.defined.statics[made.info])
    for attribute in definition.patched.union(attribute for owner, attribute in here if owner == made.info.node.name):
        slots.pop(attribute, None)
        m.defined.altered.update(filter(None, [made.info.methods.get(attribute)]))
    m.defined.constants[made.info] = {key: value for key, value in slots.items() if isinstance(value, Const)}
    return made


def brought(m: Machine, callee: Function, at: ast.AST) -> tuple[Function, Home | None]:
    """What is run where `callee` is called, and where this file is left for it."""
    country = m.defined.abroad.get(callee.frames[-1])
    if country is None:
        return callee, m.home
    home = m.home if m.is_abroad else None
    if home is None:
        origin = m.notes.origins.get(id(at))
        call = m.statement if at is callee.info.node else at if origin is None else origin.call
        home = Home(call, m.statement, m.scope, m.sites, m.outer_arms, len(m.arms))
    if id(callee.info.node) in m.notes.origins:
        return callee, home
    key = id(home.call), callee.info
    if key not in m.defined.brought:
        m.defined.brought[key] = _copy(m, callee.info, country, home.call)
    return replace(callee, info=m.defined.brought[key]), home


def _copy(m: Machine, info: FunctionInfo, country: Country, call: ast.AST) -> FunctionInfo:
    node, lines = relocated(info.node, call)
    m.notes.origins.update((id(part), Origin(country.file, line, call)) for part, line in lines.items())
    m.notes.owners += [*lines, call]
    made = FunctionInfo(node, info.qualname, info.owner)
    if info in m.defined.altered:
        m.defined.altered.add(made)
    return made
