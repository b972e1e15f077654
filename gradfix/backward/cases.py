"""What there is to run in a file: the file itself as a program, and the calls declared for it. Read, not run."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gradfix.backward.reaching import reaches_backward

_DECLARATION = re.compile(r"#\s*gradfix:\s*verify\s+(?P<call>.+?)\s*$")


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
