"""Which functions are worth interpreting: those that write to tensors or start backward, and those that lead there.

What a name means isn't known before the program runs, so a function leads to every function and class of the file
whose name it mentions. Two refinements keep that narrow. Building an object runs its constructor alone; its `forward`
counts only for functions that also call something whose name tells nothing: a variable, an assigned attribute, an item.
And what stands behind an import is never of this file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gradfix import torch_ops
from gradfix.analysis.imports import Imports
from gradfix.analysis.text.builtin_names import BUILTINS
from gradfix.analysis.text.survey import FUNCTIONS, Scope, Survey, is_awaited, survey

_ARITHMETIC = "add sub mul truediv floordiv mod pow matmul lshift rshift or xor and".split()
OPERATOR_METHODS = frozenset(
    f"__{name}__"
    for name in ("getitem", "setitem", "iter", "neg", "invert", *(p + a for p in ("", "r", "i") for a in _ARITHMETIC))
)
_WRITES, _CALLS, _HOLDS = 1, 2, 4  # meets a write; calls a value; may hold something that writes when called
_EVERY = _WRITES | _CALLS | _HOLDS
_CALLED = _HOLDS | 8  # of what is held, only whether it writes when it is called


@dataclass(frozen=True, slots=True)
class Candidates:
    """The functions worth running, by the ids of their nodes, and the names they call."""

    functions: frozenset[int]
    named: frozenset[str]
    writes: bool = True  # False: nothing in the file writes or starts backward, whoever calls it


def candidates(tree: ast.Module, imports: Imports | None = None) -> Candidates:
    """The functions that may meet a write or a backward call."""
    found = survey(tree)
    if imports is not None:
        _count_imported(found, imports)
    if not any(scope.writes or scope.backward or scope.in_place_layer for scope in found.scopes):
        return Candidates(frozenset(), frozenset(), writes=False)
    reached = _spread(found)
    return _chosen(s for s in found.scopes if _is_worth(reached[id(s)]))


def every_function(tree: ast.Module) -> Candidates:
    """All of them: what the choice is measured against."""
    return _chosen(survey(tree).scopes)


def _count_imported(found: Survey, imports: Imports) -> None:
    """Count the writes of functions and layers that stand in other files of the project."""
    known: dict[str, str] = {}
    training: dict[str, bool] = {}
    for star in found.stars:
        taken = imports.starred(star)
        found.imported.update((name, taken[name]) for name in taken.keys() - found.imported.keys() - found.stored)
    heirs = _heirs(found)
    own = {node.name for scope in found.scopes if isinstance(node := scope.node, FUNCTIONS)} if heirs else set()
    for scope in found.scopes:
        spelled = [(name, found.imported[name]) for name in scope.names if name in found.imported]
        spelled += [(name, f"{found.imported[a]}.{name}") for a, name in scope.members if a in found.imported]
        spelled += [
            (name, f"{base}.{name}")
            for base in heirs.get(scope.owner or "", ())
            for name in scope.called_attributes - own
            if torch_ops.method(name) is None
        ]
        for local, name in spelled:
            if name not in known:
                known[name] = "" if name.startswith("torch.") else imports.writes(name)
            if known[name] == "function":
                imports.writers.add(local)
                scope.writes = True
            elif known[name] == "class":
                imports.layers.add(local)
                scope.in_place_layer = True
            if name not in training:
                training[name] = not name.startswith("torch.") and imports.trains(name)
            if training[name]:
                imports.trainers.add(local)
                scope.backward = True
        if not scope.backward and is_awaited(getattr(scope.node, "name", "")):
            scope.backward = any(imports.severs(name) for _, name in spelled if not name.startswith("torch."))


def _heirs(found: Survey) -> dict[str, list[str]]:
    """The classes of the file that derive from imported ones, with the qualified names of these."""
    heirs: dict[str, list[str]] = {}
    for scope in found.scopes:
        node = scope.node
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            first, _, rest = ast.unparse(base).partition(".")
            name = f"{found.imported[first]}.{rest}".rstrip(".") if first in found.imported else "torch."
            if isinstance(node, ast.ClassDef) and not name.startswith("torch."):
                heirs.setdefault(node.name, []).append(name)
    return heirs


def _chosen(scopes: Iterable[Scope]) -> Candidates:
    worth = [scope for scope in scopes if isinstance(scope.node, FUNCTIONS)]
    named = frozenset[str]().union(*(s.called for s in worth), *(s.called_attributes for s in worth))
    return Candidates(frozenset(id(scope.node) for scope in worth), named)


def _is_worth(marks: int) -> bool:
    return bool(marks & _WRITES) or marks & (_CALLS | _HOLDS) == _CALLS | _HOLDS


def _spread(found: Survey) -> dict[int, int]:
    """The marks of each scope, by id, after everything it leads to has been counted for it."""
    names = _Names(found)
    marks = {id(scope): names.own_marks(scope) for scope in found.scopes}
    users: dict[int, list[tuple[int, int]]] = {}
    for held in names.held:  # each variable stands between those who name it and the statements about it
        marks[id(held)] = 0
        for statement in held:
            users.setdefault(id(statement), []).append((id(held), _EVERY))
    for scope in found.scopes:
        for target, kept in names.leads_to(scope):
            users.setdefault(id(target), []).append((id(scope), kept))
    todo = list(marks)
    while todo:
        reached = todo.pop()
        own = marks[reached]
        for user, kept in users.get(reached, ()) if own else ():
            gained = own & kept | (_HOLDS if kept == _CALLED and own & _WRITES else 0)
            if gained & ~marks[user]:
                marks[user] |= gained
                todo.append(user)
    return marks


@dataclass(slots=True)
class _Class:
    """A class by its name, with those of the file it derives from."""

    scope: Scope
    bases: list[str]
    methods: dict[str, Scope] = field(default_factory=dict)


class _Names:
    """What names of a file may lead to."""

    def __init__(self, found: Survey) -> None:
        self._functions: dict[str, list[Scope]] = {}
        self._classes: dict[str, list[_Class]] = {}
        self._methods_defined: set[str] = set()
        self._held: dict[str, list[Scope]] = {}  # variables of the module -> the statements about them
        self._stored, self._stored_attributes = found.stored, found.stored_attributes
        for scope in found.scopes:
            self._add(scope)
        self._plain = (found.imported.keys() | self._functions.keys() | self._classes.keys() | BUILTINS) - found.stored
        self._imported = found.imported.keys() - found.stored

    def _add(self, scope: Scope) -> None:
        node = scope.node
        if isinstance(node, ast.ClassDef):
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            self._classes.setdefault(node.name, []).append(_Class(scope, bases))
        elif isinstance(node, FUNCTIONS):
            self._functions.setdefault(node.name, []).append(scope)
            if scope.parent is not None and isinstance(scope.parent.node, ast.ClassDef):
                owner = next(c for c in self._classes[scope.parent.node.name] if c.scope is scope.parent)
                owner.methods[node.name] = scope
                self._methods_defined.add(node.name)
        elif scope.parent is None:
            for name in scope.names:
                self._held.setdefault(name, []).append(scope)

    def own_marks(self, scope: Scope) -> int:
        """What the scope itself spells."""
        calls = scope.calls_a_value or not (
            scope.called <= self._plain and scope.called_attributes.isdisjoint(self._stored_attributes)
        )
        writes = scope.writes or scope.backward
        return _WRITES * writes | _CALLS * calls | _HOLDS * scope.in_place_layer

    @property
    def held(self) -> Iterable[list[Scope]]:
        """Of each variable of the module, the statements about it."""
        return self._held.values()

    def leads_to(self, scope: Scope) -> Iterator[tuple[Scope | list[Scope], int]]:
        """What the scope may run, or the variables it names, with the marks that then count for it."""
        for name in (*scope.names, *scope.attributes):
            for function in self._functions.get(name, ()):
                yield function, _EVERY
            if name in self._classes:
                yield from self._built(name)
        for name in scope.names & self._held.keys():
            yield self._held[name], _EVERY
        for part, name in scope.members:
            if part in self._classes and part not in self._stored:
                yield from ((method, _EVERY) for method in self._methods(part, name))
                yield from self._built(part)
            elif part not in self._imported:
                yield from ((function, _EVERY) for function in self._functions.get(name, ()))
        if scope.owner is not None:
            for name in scope.inherited:
                yield from ((method, _EVERY) for method in self._inherited(scope.owner, name))
            yield from ((method, _HOLDS) for method in self._methods(scope.owner, "__init__"))
        around = scope.around()
        if around is not None:
            yield around, _HOLDS

    def _built(self, name: str) -> Iterator[tuple[Scope, int]]:
        """Building an object of a class: its constructor runs, its `forward` may later."""
        for known in self._classes[name]:
            yield known.scope, _EVERY
        for method in self._methods(name, "__init__"):
            yield method, _EVERY
        for called in ("forward", "__call__"):
            for method in self._methods(name, called):
                yield method, _CALLED
        for operator in OPERATOR_METHODS & self._methods_defined:  # run where no name tells: `a[i] = v`, `a += b`
            for method in self._methods(name, operator):
                yield method, _EVERY

    def _methods(self, owner: str, name: str) -> Iterable[Scope]:
        """A method of a class as its objects know it; of several classes of that name, of any."""
        found: list[Scope] = []
        todo, seen = [owner], set[str]()
        while todo:
            at = todo.pop()
            for known in self._classes.get(at, ()) if at not in seen else ():
                if name in known.methods:
                    found.append(known.methods[name])
                else:
                    todo.extend(known.bases)
            seen.add(at)
        return found

    def _inherited(self, owner: str, name: str) -> Iterator[Scope]:
        for known in self._classes.get(owner, ()):
            for base in known.bases:
                yield from self._methods(base, name)
