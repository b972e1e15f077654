"""Ignore patterns as git reads them. Text in, answers out; the files themselves are read elsewhere.

Each pattern is about a path itself, never about what lies beneath it: who walks a tree doesn't enter what is ignored.
`pathspec` lets a pattern reach through folders, so that `!a` takes `a/x.py` back from an ignored `x.py` and git doesn't
(8 of 400 random trees came out other than `git ls-files` says); it also costs 24 ms to import.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Ignores:
    """The patterns of one ignore file or option. Paths are relative to its folder, with `/`."""

    lines: tuple[str, ...]
    _runs: tuple[_Run, ...]

    @classmethod
    def of(cls, lines: Iterable[str]) -> Ignores:
        """From lines without their newlines. What makes no sense as a pattern matches nothing, as with git."""
        kept = tuple(lines)
        patterns = [pattern for pattern in map(_pattern, kept) if pattern]
        runs = tuple(_run(ignores, list(run)) for ignores, run in groupby(patterns, lambda pattern: pattern.ignores))
        return cls(kept, runs)

    def says(self, path: str, *, folder: bool) -> bool | None:
        """Whether `path` is ignored (true) or taken back by a `!` pattern (false); none when no pattern matches."""
        name = path[path.rfind("/") + 1 :]
        for run in reversed(self._runs):  # the last pattern that matches counts
            if run.matches(path, name, folder=folder):
                return run.ignores
        return None

    def beneath(self, folder: str) -> Ignores:
        """These patterns without those that ignore `folder` or a folder it lies in: for who asks for it by name."""
        parts = folder.split("/")
        outer = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        kept = [line for line in self.lines if not any(Ignores.of([line]).says(path, folder=True) for path in outer)]
        return self if len(kept) == len(self.lines) else Ignores.of(kept)


@dataclass(frozen=True, slots=True)
class _Pattern:
    ignores: bool  # or takes back
    expression: str
    of_path: bool  # or of the last part of the path
    folders_only: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """Patterns that follow each other and all ignore, or all take back: their order doesn't matter."""

    ignores: bool
    names: re.Pattern[str] | None
    folder_names: re.Pattern[str] | None
    paths: re.Pattern[str] | None
    folder_paths: re.Pattern[str] | None

    def matches(self, path: str, name: str, *, folder: bool) -> bool:
        if self.names is not None and self.names.fullmatch(name):
            return True
        if self.paths is not None and self.paths.fullmatch(path):
            return True
        if not folder:
            return False
        if self.folder_names is not None and self.folder_names.fullmatch(name):
            return True
        return self.folder_paths is not None and self.folder_paths.fullmatch(path) is not None


def _run(ignores: bool, patterns: Sequence[_Pattern]) -> _Run:
    def any_of(*, of_path: bool, folders_only: bool) -> re.Pattern[str] | None:
        chosen = [p.expression for p in patterns if (p.of_path, p.folders_only) == (of_path, folders_only)]
        return re.compile("|".join(chosen), re.DOTALL) if chosen else None

    return _Run(
        ignores,
        any_of(of_path=False, folders_only=False),
        any_of(of_path=False, folders_only=True),
        any_of(of_path=True, folders_only=False),
        any_of(of_path=True, folders_only=True),
    )


_BODY = re.compile(r"(?:\\.|[^\\])*?(?= *$)", re.DOTALL)  # without trailing spaces that no backslash protects
_WILD = re.compile(r"[*?\[\\]")
_GLOB = re.compile(
    r"""
    (?P<depth>(?:^|(?<=/))\*\*+/)    # any number of folders
  | (?P<inside>(?:^|(?<=/))\*\*+$)   # all there is
  | (?P<stars>\*+)
  | (?P<one>\?)
  | \[(?P<not>[!^]?)(?P<set>\]?(?:\[:\w+:\]|\\.|[^\]\\])*)\]
  | \\(?P<escaped>.)
  | (?P<plain>[^\\\[*?]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_MEMBER = re.compile(r"\[:(?P<kind>\w+):\]|(?P<low>\\.|[^\\])-(?P<high>\\.|[^\\])|(?P<single>\\.|[^\\])", re.DOTALL)
_KINDS = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def _pattern(line: str) -> _Pattern | None:
    if line.startswith("#"):
        return None
    ignores = not line.startswith("!")
    body = _BODY.match(line if ignores else line[1:])
    if body is None:  # a backslash at the end
        return None
    glob = body.group()
    folders_only = glob.endswith("/")
    glob = glob[:-1] if folders_only else glob
    expression = _expression(glob.removeprefix("/"))
    return _Pattern(ignores, expression, "/" in glob, folders_only) if expression else None


def _expression(glob: str) -> str:
    """The regular expression of what `glob` matches in full, nothing when it makes no sense."""
    wild = _WILD.search(glob)
    at = wild.start() if wild else len(glob)
    pieces, rest, at = [re.escape(glob[:at])], glob[at:], 0  # for git a pattern begins at its first special character
    while at < len(rest):
        token = _GLOB.match(rest, at)
        piece = _piece(token) if token else None
        if not token or piece is None:
            return ""
        pieces.append(piece)
        at = token.end()
    return "".join(pieces)


def _piece(token: re.Match[str]) -> str | None:
    if token["depth"]:
        return "(?:.*/)?"
    if token["inside"]:
        return ".*"
    if token["stars"]:
        return "[^/]*"
    if token["one"]:
        return "[^/]"
    if token["set"] is not None:
        return _set(token["set"], negated=bool(token["not"]))
    return re.escape(token["escaped"] or token["plain"])


def _set(members: str, *, negated: bool) -> str | None:
    if not members:  # `[]` and `[!]`: the bracket that seems to close is the first member
        return None
    pieces = []
    for member in _MEMBER.finditer(members):
        if member["kind"] and member["kind"] not in _KINDS:
            return None
        if member["kind"]:
            pieces.append(_KINDS[member["kind"]])
        elif member["single"]:
            pieces.append(re.escape(member["single"][-1]))
        else:
            low, high = member["low"][-1], member["high"][-1]
            pieces.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else re.escape(low))  # as git does
    return f"(?!/)[{'^' if negated else ''}{''.join(pieces)}]"
