"""Calls to begin with and their neighbours, from signatures as Python gives them and texts as the file has them."""

from __future__ import annotations

import ast
import enum
import inspect
import linecache
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from gradfix.backward.worker.synthesis import origins as worker_origins
from gradfix.backward.worker.synthesis import parameters as worker_parameters
from gradfix.backward.worker.synthesis.clues import Clue, annotated, named
from gradfix.backward.worker.synthesis.guesses import SIZE, Context, argument, guesses, is_heavy, small
from gradfix.backward.worker.synthesis.origins import Function
from gradfix.backward.worker.synthesis.routes import Route
from gradfix.backward.worker.synthesis.values import Argument, Call, Code, Fields, Plain, Several, Stage, Tensor, Value

_OF_TENSORS = frozenset(dir(torch.Tensor))
_OF_MODULES = frozenset(dir(torch.nn.Module))


class Signatures:
    """What can be called in a module, and how."""

    def __init__(self, tree: ast.Module, module: types.ModuleType) -> None:
        self.path = str(module.__file__)
        self._module = module
        self._trees: dict[str, ast.Module | None] = {self.path: tree}
        self._tables = _tables(tree)
        self.texts = tuple(dict.fromkeys(filter(None, map(_keys, ast.walk(tree)))))  # keys of all dicts
        self._ways: dict[tuple[str, int, str], list[Argument]] = {}  # other ways to give each argument of each stage
        self._small: tuple[dict[tuple[str, str], Value], ...] = ({}, {})  # of the same, with and without the widths
        self._heavy: set[str] = set()  # classes with large defaults
        self._constructors: list[Function] = []

    def starts(self, way: Route) -> Iterator[Call]:
        """First calls along a way: the likeliest, then with other ranks for all tensors."""
        head = self._named(way.head)
        if head is None:
            return
        stages: list[Stage] = []
        if inspect.isclass(head) and not way.of_class:
            stages.append(self._stage(way.head, 0, "", head, of_class=True))
            method = way.method
            if method == "__call__":
                suffix, method = ("", "forward") if issubclass(head, torch.nn.Module) else ("", "__call__")
                if not hasattr(head, method):
                    suffix, method = ".forward", "forward"
            else:
                suffix = f".{method}"
            if method is not None:
                function = inspect.getattr_static(head, method, None)
                if isinstance(function, property):
                    return
                if function is None:
                    return
                stages.append(
                    self._stage(way.head, 1, suffix, getattr(head, method), of_class=False, skip=_takes_self(function))
                )
        elif way.method is not None:
            of_function = issubclass(head, torch.autograd.Function) and way.method == "apply"
            function = head.forward if of_function else getattr(head, way.method)
            stages.append(self._stage(way.head, 0, f".{way.method}", function, of_class=False, skip=int(of_function)))
        else:
            stages.append(self._stage(way.head, 0, "", head, of_class=False))
        whole = Call(way.head, tuple(stages))
        firsts = [*(self.smaller(whole) if way.head in self._heavy else ()), whole]
        yield from firsts[:2]
        call = firsts[0]
        for rank in (3, 1, 4, 0):
            yield call.map(lambda v, r=rank: replace(v, shape=(SIZE,) * r) if isinstance(v, Tensor) else v)
        yield call.map(
            lambda v: Plain(8) if isinstance(v, Plain) and v.value == SIZE and type(v.value) is int else v
        ).map(lambda v: replace(v, shape=tuple(8 for _ in v.shape)) if isinstance(v, Tensor) else v)
        yield from firsts[2:]

    def smaller(self, call: Call) -> Iterator[Call]:
        """The call with smaller values for large defaults of a constructor: all of them, then without the widths."""
        for table in self._small:
            made = call
            for index, one in enumerate(call.stages[0].arguments):
                value = table.get((call.head, one.name))
                if value is not None and one.left_out:
                    made = made.at((0, index), value)
            if made != call:
                yield made

    def extended(self, call: Call, function: Callable[..., Any]) -> Call:
        """The call of what a call returns."""
        return replace(
            call, stages=(*call.stages, self._stage(call.head, len(call.stages), "", function, of_class=False))
        )

    def others(self, call: Call, relevant: frozenset[str], *, only: bool) -> Iterator[Call]:
        """The call with one argument given otherwise; with `only`, one of the relevant arguments."""
        for rank in range(12):
            for number, stage in enumerate(call.stages):
                for index, one in enumerate(stage.arguments):
                    if (one.name in relevant) != only:
                        continue
                    ways = self._ways.get((call.head, number, one.name), [])
                    if rank < len(ways) and ways[rank] != one:
                        other = ways[rank]
                        yield call.without((number, index)) if other.left_out else call.at((number, index), other.value)

    def leaves(self, call: Call) -> Iterator[Call]:
        """The call with leaves for its tensors: what only a leaf can't bear shows."""
        for path, _, value in call.values():
            given = len(path) == 2 and path[0] == len(call.stages) - 1
            if given and isinstance(value, Tensor) and value.kind in ("normal", "positive") and not value.leaf:
                yield call.at(path, replace(value, leaf=True))

    def evaluating(self, call: Call) -> Iterator[Call]:
        """The call of a module in evaluation mode."""
        head = self._named(call.head)
        if inspect.isclass(head) and issubclass(head, torch.nn.Module) and len(call.stages) == 2:
            last = call.stages[-1]
            if not last.suffix.startswith(".eval()"):
                yield replace(call, stages=(call.stages[0], replace(last, suffix=f".eval(){last.suffix}")))

    def relevant(self, code: types.CodeType, line: int) -> frozenset[str]:
        """The arguments that the statement at a line of a function depends on, as far as its text tells."""
        function = self._function(code)
        node = None if function is None else worker_origins.statement_at(function, line)
        if function is None or node is None:
            return frozenset()
        return self._sources(function, node)

    def guarding(self, line: int) -> frozenset[str]:
        """The arguments that the conditions on the way to a line depend on."""
        tree = self._trees[self.path]
        assert tree is not None
        names: frozenset[str] = frozenset()
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and _holds(function, line):
                for test in worker_origins.guards(function, line):
                    names |= self._sources(function, test)
        return names

    def _sources(self, function: Function, node: ast.AST) -> frozenset[str]:
        known = worker_origins.origins(function)
        names: set[str] = set()
        for name in worker_origins.mentioned(node):
            names |= known.get(name, frozenset([name]))
        for constructor in self._constructors:
            made = worker_origins.origins(constructor)
            names |= {source for name in list(names) if name.startswith(".") for source in made.get(name, ())}
        return frozenset(names)

    def _named(self, head: str) -> Any:
        found: Any = self._module
        for part in head.split("."):
            found = getattr(found, part, None)
        return found

    def _stage(self, head: str, number: int, suffix: str, called: Any, *, of_class: bool, skip: int = 0) -> Stage:
        """The arguments of a function, method or class, each as it is given first; the other ways are kept."""
        arguments: list[Argument] = []
        for parameter, clue in self._parameters(called, skip):
            ways = self._arguments(parameter, clue, Context(of_class, self._object))
            if ways:
                arguments.append(ways[0])
                self._ways[head, number, parameter.name] = ways[1:]
            for table, widths in zip(self._small, (True, False)) if of_class else ():
                value = small(parameter.default, parameter.name, widths=widths)
                if value is not None:
                    table[head, parameter.name] = value
            if of_class and is_heavy(parameter.default, parameter.name):
                self._heavy.add(head)
        required = [one for one in arguments if not one.left_out]
        if not required:  # nothing but *args, perhaps
            arguments = [replace(one, left_out=False) if one.star == "*" else one for one in arguments]
        if of_class and (function := self._text_of(called.__init__)) is not None:
            self._constructors.append(function)
        return Stage(suffix, tuple(arguments))

    def _parameters(self, called: Any, skip: int) -> list[tuple[inspect.Parameter, Clue]]:
        try:
            signature = inspect.signature(called)
        except (ValueError, TypeError):
            return []
        function = self._text_of(called.__init__ if inspect.isclass(called) else called)
        known: dict[str, Clue] = {}
        if function is not None:
            owner = self._class_of(function) if inspect.isclass(called) else None
            known = worker_parameters.clues(function, self._tables, _OF_TENSORS, owner)
        return [(one, known.get(one.name) or _written(one)) for one in signature.parameters.values()][skip:]

    def _arguments(self, parameter: inspect.Parameter, clue: Clue, context: Context) -> list[Argument]:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            given = Several((Tensor((SIZE, SIZE)),) * 2)
            return [Argument(parameter.name, given, star="*", left_out=True)]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            fields = Fields(tuple((key, guesses(key, inner, context)[0]) for key, inner in clue.keys.items()))
            return [Argument(parameter.name, fields, star="**", left_out=not clue.keys)]
        return argument(parameter, clue, context)

    def _object(self, clue: Clue, nested: int) -> Value | None:
        """An object of a class of the module: one that is annotated, or has all that is read of it."""
        if clue.item is not None or clue.parts or nested > 3 or re.search(r"\bTensor\b", clue.annotation):
            return None
        return self._instance(clue.annotation, nested) or self._owner(list(clue.fields), nested)

    def _instance(self, annotation: str, depth: int) -> Value | None:
        """An object of a class of the module that an annotation names."""
        names = re.findall(r"[A-Za-z_]\w*", annotation)
        for name in names:
            cls = getattr(self._module, name, None)
            if not inspect.isclass(cls) or depth > 2 or getattr(cls, "__module__", "torch").split(".")[0] == "torch":
                continue
            if issubclass(cls, enum.Enum):
                return Code(f"{name}.{next(iter(cls)).name}")
            if cls.__module__ in ("builtins", "typing", "collections.abc", "numpy", "pathlib"):
                continue
            fields = [
                (
                    parameter.name,
                    guesses(parameter.name, clue, Context(True, self._object, depth + 1))[0],
                )
                for parameter, clue in self._parameters(cls, 0)
                if parameter.default is inspect.Parameter.empty
                and parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            ]
            return Fields(tuple(fields), name)
        return None

    def _owner(self, attributes: list[str], depth: int) -> Value | None:
        """An object of the class of the file that has all attributes that are read of something."""
        own = [name for name in attributes if name not in _OF_TENSORS and name not in _OF_MODULES]
        tree = self._trees[self.path]
        for node in tree.body if own and tree is not None else ():
            if isinstance(node, ast.ClassDef) and set(own) <= worker_origins.attributes(node):
                return self._instance(node.name, depth)
        return None

    def _text_of(self, called: Any) -> Function | None:
        """The syntax tree of a Python function."""
        unwrapped = inspect.unwrap(called) if callable(called) else called
        code = getattr(getattr(unwrapped, "__func__", unwrapped), "__code__", None)
        return self._function(code) if isinstance(code, types.CodeType) else None

    def _class_of(self, function: Function) -> ast.ClassDef | None:
        """The class that a method is written in."""
        for tree in filter(None, self._trees.values()):
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and function in node.body:
                    return node
        return None

    def _function(self, code: types.CodeType) -> Function | None:
        tree = self._tree(code.co_filename)
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == code.co_name:
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                if first == code.co_firstlineno:
                    return node
            if isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
                return node
        return None

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            try:
                self._trees[path] = ast.parse("".join(linecache.getlines(path)))
            except (SyntaxError, ValueError):
                self._trees[path] = None
        return self._trees[path]


def _written(parameter: inspect.Parameter) -> Clue:
    """What the signature alone tells, as of a dataclass."""
    clue = named(parameter.name)
    if parameter.annotation is not inspect.Parameter.empty:
        written = parameter.annotation
        annotated(written if isinstance(written, str) else inspect.formatannotation(written), clue)
    return clue


def _takes_self(function: Any) -> int:
    return 0 if isinstance(function, (staticmethod, classmethod)) else 1


def _holds(function: ast.AST, line: int) -> bool:
    return bool(function.lineno <= line <= (function.end_lineno or 0))  # type: ignore[attr-defined]


def _tables(tree: ast.Module) -> dict[str, list[str]]:
    """The text keys of the dicts that a module defines."""
    return {
        target.id: list(_keys(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _keys(node: ast.AST) -> tuple[str, ...]:
    """The texts among the keys of a dict that is spelled out."""
    keys = node.keys if isinstance(node, ast.Dict) else []
    return tuple(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
