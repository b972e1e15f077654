"""Places in the user's code: which frame called, and which expression of it. Columns are looked up only when told."""

from __future__ import annotations

import ast
import linecache
import os
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType

from gradfix.tracer.messages import SpotMessage

_FOLDERS = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_LIBRARIES = tuple({os.path.join(path, "") for folder in _FOLDERS for path in (folder, os.path.realpath(folder))})
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@dataclass(frozen=True)
class Spot:
    """An expression of the user's code that ran. Lines count from 1, columns from 0 in characters, ends exclusive."""

    file: str
    function: str  # dotted name, "<module>" at top level
    line: int
    end_line: int
    column: int | None  # None before Python 3.11, which doesn't know
    end_column: int | None
    text: str  # of the expression on one line, "" where the file can't be read
    time: int  # how often this place had run by then, from 1: the iteration, in a loop

    def as_message(self) -> SpotMessage:
        """As a JSON object."""
        return {
            "file": self.file,
            "function": self.function,
            "line": self.line,
            "end_line": self.end_line,
            "column": self.column,
            "end_column": self.end_column,
            "text": self.text,
            "time": self.time,
        }


@dataclass(frozen=True)
class Mark:
    """A place as it is kept while the program runs: cheap to take, told as a `Spot`."""

    code: CodeType
    offset: int
    line: int
    time: int
    through: Mark | None = None  # the call that led here, in the file looked at, where this is another one

    def spot(self, *, whole: bool = False) -> Spot:
        """The expression, or the `whole` statement it stands in: of `y[0] = 10` the first is only `y[0]`."""
        first, last, column, end = self._position()
        file = self.code.co_filename
        if whole:
            first, last, column, end = _statement(file, first, last, column) or (first, last, column, end)
        return Spot(
            file=file,
            function=getattr(self.code, "co_qualname", self.code.co_name),
            line=first,
            end_line=last,
            column=None if column is None else _characters(file, first, column),
            end_column=None if end is None else _characters(file, last, end),
            text=_text(file, first, last, column, end),
            time=self.time,
        )

    def place(self) -> tuple[int, int, int, int] | None:
        """First line and column, last ones, columns in bytes of UTF-8; None before Python 3.11, which doesn't know."""
        first, last, column, end = self._position()
        return None if column is None or end is None else (first, column, last, end)

    def _position(self) -> tuple[int, int, int | None, int | None]:
        positions = getattr(self.code, "co_positions", None)
        found = next(islice(positions(), self.offset // 2, None), None) if positions else None
        if not found or found[0] is None:
            return self.line, self.line, None, None
        first, last, column, end = found
        return first, first if last is None else last, column, end


class Marker:
    """Takes marks of the innermost frame that is the user's."""

    def __init__(self, roots: tuple[str, ...] = (), within: str | None = None) -> None:
        """`roots`: files or folders that are the user's wherever they lie. `within`: the file looked at."""
        self._roots = tuple(os.path.abspath(root) for root in roots)
        self._within = within
        self._ours: dict[CodeType, bool] = {}
        self._times: Counter[tuple[CodeType, int]] = Counter()
        self._latest: Mark | None = None

    def next_call(self) -> None:
        """The user's code calls torch again: the same place from now on is another time."""
        self._latest = None

    def mark(self) -> Mark | None:
        """Where the user's code is now; None when none of it is running."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self._is_users(frame.f_code):
            frame = frame.f_back
        if frame is None:
            return None
        latest, key, through = self._latest, (frame.f_code, frame.f_lasti), self._through(frame)
        if latest is None or (latest.code, latest.offset, latest.through) != (*key, through):
            self._times[key] += 1
            latest = self._latest = Mark(frame.f_code, frame.f_lasti, frame.f_lineno, self._times[key], through)
        return latest

    def _through(self, frame: FrameType) -> Mark | None:
        """Where the file looked at called what came to `frame`; None where that is its own."""
        if self._within is None or frame.f_code.co_filename == self._within:
            return None
        outer = frame.f_back
        while outer is not None and outer.f_code.co_filename != self._within:
            outer = outer.f_back
        return None if outer is None else Mark(outer.f_code, outer.f_lasti, outer.f_lineno, 1)

    def _is_users(self, code: CodeType) -> bool:
        known = self._ours.get(code)
        if known is None:
            known = self._ours[code] = is_users_file(code.co_filename, self._roots)
        return known


def is_users_file(file: str, roots: tuple[str, ...] = ()) -> bool:
    """Whether a code object of that file is the user's: no library's, not Python's own, not gradfix's."""
    if any(file == root or file.startswith(root + os.sep) for root in roots):
        return True
    if file.startswith(("<frozen", _OWN)):
        return False
    parts = file.split(os.sep)
    return not file.startswith(_LIBRARIES) and "site-packages" not in parts and "dist-packages" not in parts


def _text(file: str, first: int, last: int, column: int | None, end: int | None) -> str:
    lines = [linecache.getline(file, number) for number in range(first, last + 1)]
    if not all(lines):
        return ""
    raw = [line.encode() for line in lines]
    if column is not None and end is not None:
        raw[-1] = raw[-1][:end]
        raw[0] = raw[0][column:]
    return " ".join(b"".join(raw).decode("utf-8", "replace").split())


def _characters(file: str, line: int, column: int) -> int:
    """Python counts columns in bytes of UTF-8."""
    return len(linecache.getline(file, line).encode()[:column].decode("utf-8", "replace"))


@lru_cache(maxsize=256)
def _statements(file: str, text: str) -> tuple[tuple[int, int, int, int], ...]:
    """Places of the simple statements of a file."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(
        (node.lineno, node.end_lineno or node.lineno, node.col_offset, node.end_col_offset or 0)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and not hasattr(node, "body")
    )


def _statement(file: str, first: int, last: int, column: int | None) -> tuple[int, int, int | None, int | None] | None:
    """The simple statement around a place: first and last line, first and last column in bytes."""
    found = [s for s in _statements(file, "".join(linecache.getlines(file))) if s[0] <= first and last <= s[1]]
    if len(found) > 1 and column is not None:  # several on one line
        found = [s for s in found if s[2] <= column < s[3]]
    return found[0] if len(found) == 1 else None
