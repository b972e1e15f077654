"""Functions of the file: where one is defined, who mentions it, whether anything outside of the file could call it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gradfix.analysis.text.nodes import every_node
from gradfix.rewrite.text import names
from gradfix.rewrite.text.scopes import mentions_of, path_to
from gradfix.source import Source

_PLAIN_BASES = frozenset({"object", "nn.Module", "torch.nn.Module", "Module"})


@dataclass(frozen=True, slots=True)
class Definition:
    """A plain function or method: neither decorated nor asynchronous."""

    node: ast.FunctionDef
    owner: ast.AST  # the module, class or function it stands in

    @property
    def is_method(self) -> bool:
        """Whether it is called on an object."""
        return isinstance(self.owner, ast.ClassDef)

    @property
    def parameters(self) -> tuple[ast.arg, ...]:
        """Those that take one argument each."""
        arguments = self.node.args
        return (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)

    def parameter(self, name: str) -> ast.arg | None:
        """The parameter of that name."""
        return next((a for a in self.parameters if a.arg == name), None)


def definition_around(source: Source, inner: ast.expr) -> Definition | None:
    """The function that `inner` runs in; None at top level, in a lambda, and for functions that aren't plain."""
    around = path_to(names.tree_of(source), inner)
    for place, node in enumerate(around):
        if isinstance(node, (ast.Lambda, ast.AsyncFunctionDef)):
            return None
        if isinstance(node, ast.FunctionDef):
            return None if node.decorator_list else Definition(node, around[place + 1])
    return None


def calls_of(source: Source, definition: Definition, followed: Sequence[ast.Call]) -> list[ast.Call] | None:
    """All calls of the function, those `followed` by the analysis among them.

    None where others stand in the file, or the function is handed on.
    """
    spelt, name = _spelt(names.tree_of(source)), definition.node.name
    if spelt.bound[name] != 1:
        return None
    known = {_place(call.func): call for call in followed}
    found: Sequence[ast.expr] = spelt.names.get(name, [])
    if isinstance(definition.owner, ast.ClassDef):
        methods = spelt.attributes.get(name, [])
        if any(isinstance(node.value, ast.Name) and node.value.id == definition.owner.name for node in methods):
            return None
        found = methods
    calls = [known.get(_place(node)) for node in found]
    return None if None in calls else [call for call in calls if call is not None]


def is_forward_hook(source: Source, definition: Definition) -> bool:
    """Whether modules alone call it, after their forward: whatever it returns takes the place of their result."""
    tree, name = names.tree_of(source), definition.node.name
    if definition.is_method:
        mentions: Sequence[ast.expr] = _spelt(tree).attributes.get(name, [])
    else:
        mentions = _spelt(tree).names.get(name, [])
    uses = [path_to(tree, mention) for mention in mentions]
    made_by = definition.owner if isinstance(definition.owner, ast.FunctionDef) else None
    if made_by is not None and all(isinstance(around[0], ast.Return) for around in uses):  # a function that makes hooks
        makers = list(mentions_of(tree, made_by.name))
        uses = [maker.around[1:] for maker in makers if getattr(maker.around[0], "func", None) is maker.node]
        if len(uses) < len(makers):
            return False
    return bool(uses) and all(_is_registered(around[0]) for around in uses)


def _is_registered(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "register_forward_hook"
        and len(node.args) == 1
        and not node.keywords
    )


def is_private(source: Source, definition: Definition) -> bool:
    """Whether nothing outside of the file calls it: it is named so, nested, or the file is a program."""
    tree, name = names.tree_of(source), definition.node.name
    if name in _spelt(tree).strings:
        return False
    if _is_program(tree) or isinstance(definition.owner, ast.FunctionDef):
        return True
    hidden = name.startswith("_") and not name.endswith("__")
    if isinstance(definition.owner, ast.ClassDef):
        return hidden and all(ast.unparse(base) in _PLAIN_BASES for base in definition.owner.bases)
    return hidden


def _is_program(tree: ast.Module) -> bool:
    for statement in tree.body:
        if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
            return True
        if isinstance(statement, (ast.Expr, ast.For, ast.While, ast.With)):
            calls = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
            if any(isinstance(function, ast.Attribute) and function.attr == "backward" for function in calls):
                return True
    return False


@dataclass(frozen=True, slots=True)
class _Spelt:
    """Every identifier of a file, for what is asked about many functions of it."""

    bound: Counter[str] = field(default_factory=Counter)  # how often a name is given a meaning
    names: dict[str, list[ast.Name]] = field(default_factory=dict)
    attributes: dict[str, list[ast.Attribute]] = field(default_factory=dict)
    strings: set[str] = field(default_factory=set)


@lru_cache(maxsize=2)
def _spelt(tree: ast.Module) -> _Spelt:
    found = _Spelt()
    for node in every_node(tree):
        if isinstance(node, ast.Name):
            found.names.setdefault(node.id, []).append(node)
            found.bound[node.id] += not isinstance(node.ctx, ast.Load)
        elif isinstance(node, ast.Attribute):
            found.attributes.setdefault(node.attr, []).append(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.strings.add(node.value)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.bound[node.name] += 1
        elif isinstance(node, ast.alias):
            found.bound[node.asname or node.name] += 1
        elif isinstance(node, ast.arg):
            found.bound[node.arg] += 1
    return found


def _place(node: ast.expr) -> tuple[int, int, int | None, int | None]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
