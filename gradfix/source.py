"""One file's text, and where things are in it.

Offsets count the characters of `Source.text`. Lines are the lines of Python's tokenizer: `\\n`, `\\r\\n` and `\\r` end
one; form feeds, vertical tabs, `\\x85` and U+2028 don't. So `offset` and `span_of` take `ast`'s positions as they are.
"""

from __future__ import annotations

import codecs
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from tokenize import detect_encoding
from typing import TYPE_CHECKING

from gradfix.errors import FileProblem

if TYPE_CHECKING:
    import ast


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A piece of a text: offsets in characters, `end` exclusive. Empty spans are places between two characters."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"no span from {self.start} to {self.end}")

    def __len__(self) -> int:
        return self.end - self.start

    def __bool__(self) -> bool:
        """Always true: an empty span is a place too, and `if span` asks whether there is one."""
        return True

    def contains(self, other: Span | int) -> bool:
        """Whether `other` lies inside: a span with both ends, or the offset of a character."""
        if isinstance(other, int):
            return self.start <= other < self.end
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: Span) -> bool:
        """Whether they share a character; an empty span overlaps what has it strictly inside."""
        return self.start < other.end and other.start < self.end

    def text(self, text: str) -> str:
        """The characters of `text` in this span."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place for people: `line` counts from 1, `column` from 0 in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one file as Python reads it, with all that is needed to write it back byte for byte.

    `text` keeps the newlines of the file. `encoding` is the codec the file declares, `bom` whether it began with
    the UTF-8 byte order mark (which `text` doesn't hold). `path` is the file as the user named it.
    """

    path: str
    text: str
    encoding: str
    bom: bool
    _table: _LineTable | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def from_bytes(cls, path: str, data: bytes) -> Source:
        """Decode as Python does: byte order mark, PEP 263 cookie, else UTF-8.

        Raises `FileProblem` for what can't be decoded, for NUL bytes, and for codecs that don't give back the bytes.
        """
        _refuse_foreign(path, data)
        bom = data.startswith(codecs.BOM_UTF8)
        encoding = _declared_encoding(path, data)
        body = data[len(codecs.BOM_UTF8) :] if bom else data
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError as error:
            line = len(_NEWLINE_BYTES.findall(body, 0, error.start)) + 1
            reason = f"not valid {encoding}: byte 0x{body[error.start]:02x}"
            raise FileProblem(path, reason, line=line) from None
        except (LookupError, ValueError) as error:
            raise FileProblem(path, f"can't be decoded as {encoding}: {error}") from None
        _refuse_unwritable(path, text, encoding, body)
        return cls(path, text, encoding, bom)

    @classmethod
    def from_text(cls, path: str, text: str) -> Source:
        """A source in UTF-8 from text already decoded. Raises `FileProblem` for NUL characters and lone surrogates."""
        bom = text.startswith("\ufeff")
        body = text[1:] if bom else text
        if "\0" in body:
            line = len(_NEWLINE.findall(body, 0, body.index("\0"))) + 1
            raise FileProblem(path, _NUL_REASON, line=line)
        source = cls(path, body, "utf-8", bom)
        source.encode(body)
        return source

    def encode(self, text: str) -> bytes:
        """`text` in the encoding of this file, with its byte order mark.

        Raises `FileProblem` when `text` has characters the encoding lacks.
        """
        try:
            body = text.encode(self.encoding)
        except UnicodeEncodeError as error:
            character = text[error.start]
            line = len(_NEWLINE.findall(text, 0, error.start)) + 1
            reason = f"{self.encoding} has no character U+{ord(character):04X}"
            raise FileProblem(self.path, reason, line=line) from None
        return codecs.BOM_UTF8 + body if self.bom else body

    @property
    def line_count(self) -> int:
        """How many lines there are, as editors count: a final newline opens a last, empty line; no text is one line."""
        return len(self._lines.starts)

    @property
    def newline(self) -> str:
        """The newline used most (the first of them when equal), `\\n` when there is none."""
        return self._lines.newline

    def offset(self, line: int, utf8_column: int) -> int:
        """The offset of a position of `ast`: `line` from 1, column in UTF-8 bytes from the start of that line.

        Raises `ValueError` for a line that isn't there; the column is taken as it is.
        """
        lines = self._lines
        if not 1 <= line <= len(lines.starts):
            raise ValueError(f"{self.path} has no line {line}")
        start = lines.starts[line - 1]
        wide = lines.wide
        return start + utf8_column if wide is None else wide.from_utf8(wide.to_utf8(start) + utf8_column)

    def offset_of(self, position: Position) -> int:
        """The offset of `position`, cut at the end of its line. Raises `ValueError` for a line that isn't there."""
        span = self.line_span(position.line)
        return min(span.start + position.column, span.end)

    def span_of(self, node: ast.AST) -> Span:
        """Where `node` of `ast.parse(source.text)` stands. Decorators lie outside their function, as in `ast`.

        Before Python 3.12 the literal and replacement parts of an f-string have the span of the whole f-string; names
        and expressions inside have their own (measured on 3.10 to 3.13). Raises `ValueError` for nodes without a
        position (`ast.Module`, `ast.arguments`, operators).
        """
        end_line: int | None = getattr(node, "end_lineno", None)
        end_column: int | None = getattr(node, "end_col_offset", None)
        if end_line is None or end_column is None:
            raise ValueError(f"ast.{type(node).__name__} has no position")
        start = self.offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]  # positions go together
        return Span(start, self.offset(end_line, end_column))

    def position(self, offset: int) -> Position:
        """The line and column of `offset`, which may be the text's end. Raises `ValueError` outside the text."""
        line, start = self._line_of(offset)
        return Position(line, offset - start)

    def utf8_column(self, offset: int) -> int:
        """How many UTF-8 bytes stand on the line before `offset`."""
        _, start = self._line_of(offset)
        wide = self._lines.wide
        return offset - start if wide is None else wide.to_utf8(offset) - wide.to_utf8(start)

    def utf16_column(self, offset: int) -> int:
        """How many UTF-16 units stand on the line before `offset` (the columns of LSP)."""
        _, start = self._line_of(offset)
        wide = self._lines.wide
        return offset - start if wide is None else wide.to_utf16(offset) - wide.to_utf16(start)

    def line_span(self, line: int) -> Span:
        """The span of `line` (from 1) without its newline. Raises `ValueError` for a line that isn't there."""
        start, end = self._line_bounds(line)
        return Span(start, end - len(self._newline_before(start, end)))

    def line_text(self, line: int) -> str:
        """The text of `line` (from 1) without its newline."""
        return self.line_span(line).text(self.text)

    def newline_at(self, line: int) -> str:
        """What ends `line`: `\\n`, `\\r\\n` or `\\r`, nothing on the last line."""
        return self._newline_before(*self._line_bounds(line))

    @property
    def _lines(self) -> _LineTable:
        table = self._table
        if table is None:
            table = _line_table(self.text)
            object.__setattr__(self, "_table", table)
        return table

    def _line_of(self, offset: int) -> tuple[int, int]:
        if not 0 <= offset <= len(self.text):
            raise ValueError(f"offset {offset} lies outside the text of {self.path}")
        starts = self._lines.starts
        line = bisect_right(starts, offset)
        return line, starts[line - 1]

    def _line_bounds(self, line: int) -> tuple[int, int]:
        starts = self._lines.starts
        if not 1 <= line <= len(starts):
            raise ValueError(f"{self.path} has no line {line}")
        return starts[line - 1], starts[line] if line < len(starts) else len(self.text)

    def _newline_before(self, start: int, end: int) -> str:
        tail = self.text[max(start, end - 2) : end]
        if tail.endswith("\r\n"):
            return "\r\n"
        return tail[-1] if tail.endswith(("\n", "\r")) else ""

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[str, str, str, bool]]:
        return Source, (self.path, self.text, self.encoding, self.bom)  # the line table is made again where needed


@dataclass(frozen=True, slots=True)
class _Wide:
    """The non-ASCII characters of a text: where they are, and how much longer than characters other units count."""

    offsets: Sequence[int]
    utf8_starts: Sequence[int]  # of the same characters, in bytes from the start of the text
    utf8_extra: Sequence[int]  # bytes minus characters before the i-th of them; one entry more than `offsets`
    utf16_extra: Sequence[int]

    def to_utf8(self, offset: int) -> int:
        return offset + self.utf8_extra[bisect_left(self.offsets, offset)]

    def to_utf16(self, offset: int) -> int:
        return offset + self.utf16_extra[bisect_left(self.offsets, offset)]

    def from_utf8(self, utf8_offset: int) -> int:
        return utf8_offset - self.utf8_extra[bisect_left(self.utf8_starts, utf8_offset)]


@dataclass(frozen=True, slots=True)
class _LineTable:
    starts: list[int]
    newline: str
    wide: _Wide | None  # None: all ASCII, every unit counts the same


_NEWLINE = re.compile(r"\r\n?|\n")
_NEWLINE_BYTES = re.compile(rb"\r\n?|\n")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NUL_REASON = "a NUL byte, which Python doesn't accept in source code"


def _line_table(text: str) -> _LineTable:
    return _LineTable(_line_starts(text), _dominant_newline(text), None if text.isascii() else _wide_table(text))


def _line_starts(text: str) -> list[int]:
    if "\r" in text:
        return [0, *(match.end() for match in _NEWLINE.finditer(text))]
    ends = accumulate(map(len, text.split("\n")), lambda start, length: start + length + 1, initial=0)
    return list(ends)[:-1]  # twice as fast as the pattern


def _dominant_newline(text: str) -> str:
    crlf = text.count("\r\n")
    counts = {"\r\n": crlf, "\n": text.count("\n") - crlf, "\r": text.count("\r") - crlf}
    most = max(counts.values())
    if most == 0:
        return "\n"
    best = {newline for newline, count in counts.items() if count == most}
    if len(best) == 1:
        return best.pop()
    return next(match.group() for match in _NEWLINE.finditer(text) if match.group() in best)


def _wide_table(text: str) -> _Wide:
    offsets = array("q", (match.start() for match in _NOT_ASCII.finditer(text)))
    characters = [text[offset] for offset in offsets]
    utf8_extra = array("q", accumulate((_utf8_extra(c) for c in characters), initial=0))
    utf16_extra = array("q", accumulate((c > "\uffff" for c in characters), initial=0))
    utf8_starts = array("q", map(int.__add__, offsets, utf8_extra))
    return _Wide(offsets, utf8_starts, utf8_extra, utf16_extra)


def _utf8_extra(character: str) -> int:
    return 1 if character < "\u0800" else 2 if character <= "\uffff" else 3


def _refuse_foreign(path: str, data: bytes) -> None:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise FileProblem(path, "UTF-32 text, which Python doesn't read; save it as UTF-8")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileProblem(path, "UTF-16 text, which Python doesn't read; save it as UTF-8")
    if (nul := data.find(b"\0")) < 0:
        return
    try:
        data.decode()
    except UnicodeDecodeError:
        raise FileProblem(path, "a binary file, not Python source") from None
    raise FileProblem(path, _NUL_REASON, line=len(_NEWLINE_BYTES.findall(data, 0, nul)) + 1)


def _declared_encoding(path: str, data: bytes) -> str:
    head = _NEWLINE_BYTES.split(data, 2)[:2]
    if not any(b"coding" in line for line in head):
        return "utf-8"
    lines = iter([line + b"\n" for line in head])
    try:
        encoding, _ = detect_encoding(lambda: next(lines, b""))
    except SyntaxError as error:
        if data.startswith(codecs.BOM_UTF8) and error.msg.startswith("encoding problem"):
            raise FileProblem(path, "a UTF-8 byte order mark, and a comment that declares another encoding") from None
        raise FileProblem(path, str(error.msg)) from None
    return "utf-8" if encoding == "utf-8-sig" else encoding


def _refuse_unwritable(path: str, text: str, encoding: str, body: bytes) -> None:
    if encoding in ("utf-8", "iso-8859-1"):  # these give back every byte they took
        return
    try:
        same = text.encode(encoding) == body
    except UnicodeError:
        same = False
    if not same:
        raise FileProblem(path, f"{encoding} doesn't give back the bytes of this file; save it as UTF-8")
