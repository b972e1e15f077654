"""Text that Python can't parse: what to tell its author.

`ast` reads the syntax of the Python that runs gradfix. Code written for a newer Python is not wrong, so it gets a
message of its own where a line shows it beyond doubt. The versions are those of "What's New in Python", 3.11 to 3.14.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from dataclasses import dataclass

from gradfix.collector import paused
from gradfix.errors import FileProblem
from gradfix.source import Source

TOO_DEEP = "nested too deeply to be analysed"


@dataclass(frozen=True, slots=True)
class _Newer:
    version: tuple[int, int]
    name: str
    line: re.Pattern[str]  # found in the line the error is in
    message: str = ""  # and this in Python's message


_NEWER = (
    _Newer((3, 11), "`except*`", re.compile(r"^\s*except\s*\*")),
    _Newer((3, 13), "a type parameter with a default", re.compile(r"^\s*(?:def|class|type)\s+\w+\s*\[[^\]]*=")),
    _Newer((3, 12), "the `type` statement", re.compile(r"^\s*type\s+\w+\s*(\[.*\])?\s*=")),
    _Newer((3, 12), "a type parameter", re.compile(r"^\s*(?:(?:async\s+)?def|class)\s+\w+\s*\[")),
    _Newer((3, 12), "this form of f-string", re.compile(r"[fF][rR]?[\"']|[rR][fF][\"']"), "f-string"),
    _Newer((3, 14), "a t-string", re.compile(r"(?<!\w)(?:[tT][rR]?|[rR][tT])[\"']")),
)
_OTHER_PYTHONS = {  # what a message of Python's tells of
    "Missing parentheses in call to": "this looks like Python 2, which gradfix doesn't read",
    "multiple exception types must be parenthesized": "Python 2, which gradfix doesn't read, or syntax of Python 3.14",
}


def parse(source: Source) -> ast.Module:
    """The tree of `source`, without Python's warnings. Raises `FileProblem` with the line when it can't be parsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tree_of(source.text)
        except SyntaxError as error:
            raise problem(source, error) from None
        except ValueError as error:  # a lone surrogate, for one
            raise FileProblem(source.path, f"can't be parsed: {error}") from None
        except (RecursionError, MemoryError):
            raise FileProblem(source.path, TOO_DEEP) from None


def tree_of(text: str) -> ast.Module:
    """`ast.parse` without the collector, which would look in vain through the nodes there are, again and again."""
    with paused():
        return ast.parse(text)


def problem(source: Source, error: SyntaxError, running: tuple[int, int] = sys.version_info[:2]) -> FileProblem:
    """`error` of the Python in version `running` as the user should read it."""
    line = error.lineno if error.lineno is not None and 1 <= error.lineno <= source.line_count else None
    text = source.line_text(line) if line is not None else ""
    newer = next((n for n in _NEWER if n.version > running and n.message in error.msg and n.line.search(text)), None)
    if newer is not None:
        version = ".".join(map(str, newer.version))
        here = ".".join(map(str, running))
        reason = f"{newer.name} needs Python {version}, and gradfix runs on {here}: run it on {version} or newer"
    elif (
        other := next((says for start, says in _OTHER_PYTHONS.items() if error.msg.startswith(start)), None)
    ) is not None:
        reason = f"syntax error: {error.msg} ({other})"
    elif "too many" in error.msg:  # parentheses, levels of indentation, statically nested blocks
        reason = f"{TOO_DEEP}: {error.msg}"
    else:
        reason = f"syntax error: {error.msg}"
    return FileProblem(source.path, reason, line=line)
