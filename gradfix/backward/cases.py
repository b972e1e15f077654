"""What there is to run in a file: the file itself as a program, and the calls declared for it. Read, not run."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

_DECLARATION = re.compile(r"#\s*gradfix:\s*verify\s+(?P<call>.+?)\s*$")
_METHODS = ("backward",)
_FUNCTIONS = ("gradcheck", "gradgradcheck")
_TRANSFORMS = ("grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "vmap")


@dataclass(frozen=True, slots=True)
class Program:
    """Run the file as `__main__` and observe every backward."""

    entry: str | None = None  # another file that is run instead, and imports this one


@dataclass(frozen=True, slots=True)
class DeclaredCall:
    """Import the file, make the call and run backward over what it returns."""

    call: str  # "f(x=randn(4, 3))", "Net(8)(randn(2, 8))": the file's names, then torch's
    seed: int = 0  # of the generators before the arguments are made
    synthesised: bool = False  # nobody declared it: a search came up with it


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """Import the file and call a function with the arguments that a real run gave it (format: `tracer/calls.py`)."""

    path: str  # of the `.pt` file
    function: str  # dotted name in the module


@dataclass(frozen=True, slots=True)
class Command:
    """Run the user's own command on a copy of the project, and compare exit codes."""

    command: str  # for the shell
    root: str  # the folder that is copied


Case: TypeAlias = Program | RecordedCall | DeclaredCall | Command


def cases(path: Path, text: str, declared: Sequence[Case] = ()) -> tuple[Case, ...]:
    """The cases of a file, best first: the program, then calls from its comments, then those of the configuration.

    `path` names the file in errors only. A text that doesn't parse has no cases.
    """
    try:
        tree = ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    program: tuple[Case, ...] = (Program(),) if reaches_backward(tree) else ()
    return tuple(dict.fromkeys((*program, *map(DeclaredCall, declared_in(text)), *declared)))


def recorded(folder: Path, file: str) -> tuple[RecordedCall, ...]:
    """The calls in `folder` that were recorded of functions of `file`, a path relative to the project."""
    found: list[RecordedCall] = []
    for path in sorted(folder.glob("*.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            if about["format"] == 2 and about["file"] == file:
                found.append(RecordedCall(str(path.with_suffix(".pt")), str(about["function"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def declared_in(text: str) -> tuple[str, ...]:
    """The calls of `# gradfix: verify CALL` comments, in order."""
    found: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            match = _DECLARATION.match(token.string) if token.type == tokenize.COMMENT else None
            if match is not None:
                found.append(match["call"])
    except (tokenize.TokenError, SyntaxError):
        pass
    return tuple(found)


def reaches_backward(tree: ast.Module) -> bool:
    """Whether running the file runs a backward pass: at top level, or in functions it calls by name or hands over.

    What is handed over (`optimizer.step(closure)`) or stands in a display (`for case in (first, second)`) counts as
    called, and methods as functions.
    """
    bodies = _bodies(tree)
    reached: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        for named in _named(node) - reached:
            reached.add(named)
            todo += bodies.get(named, ())
        for call in _calls(node):
            if _last_name(call.func) in _FUNCTIONS or _is_gradient(call.func):
                return True
            for function in (call.func, *_handed_over(call)):
                name = _last_name(function)
                if name in _METHODS and isinstance(function, ast.Attribute):
                    return True
                if name is not None and name not in reached:
                    reached.add(name)
                    todo += bodies.get(name, ())
    return False


def _handed_over(call: ast.Call) -> list[ast.expr]:
    """Arguments that may be functions: what has a name."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return [value for value in given if isinstance(value, (ast.Name, ast.Attribute))]


def _bodies(tree: ast.Module) -> dict[str, list[ast.AST]]:
    """What a call by each name may run: functions and methods; a class runs its `__init__`, its objects `forward`."""
    bodies: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            bodies.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.ClassDef):
            own = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
            bodies.setdefault(node.name, []).extend(f for f in own if f.name in ("__init__", "__call__", "forward"))
    return bodies


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Calls that running this node makes by itself."""
    return (one for one in _run(node) if isinstance(one, ast.Call))


def _named(node: ast.AST) -> set[str]:
    """Names in displays (`[f, g]`, `{"a": f}`) that running this node makes."""
    displays = (one for one in _run(node) if isinstance(one, (ast.Tuple, ast.List, ast.Set, ast.Dict)))
    items = (item for one in displays for item in (one.values if isinstance(one, ast.Dict) else one.elts))
    return {item.id for item in items if isinstance(item, ast.Name)}


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """What is run with this node: not the bodies of functions it only defines."""
    todo: list[ast.AST] = [node]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        todo = list(node.body)
    while todo:
        current = todo.pop()
        if isinstance(current, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += current.decorator_list
            continue
        yield current
        todo.extend(ast.iter_child_nodes(current))


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _is_gradient(node: ast.expr) -> bool:
    """`torch.autograd.grad`, `autograd.grad`, a bare `grad`, or a transform of `torch.func`."""
    if isinstance(node, ast.Name):
        return node.id == "grad"
    if not isinstance(node, ast.Attribute):
        return False
    owner = _last_name(node.value)
    return (node.attr == "grad" and owner == "autograd") or (node.attr in _TRANSFORMS and owner == "func")
