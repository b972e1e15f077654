"""Sources: positions as `ast` gives them, every newline style, encodings there and back."""

from __future__ import annotations

import ast
import codecs
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradfix.errors import FileProblem
from gradfix.source import Position, Source, Span

NEWLINES = st.sampled_from(["\n", "\r\n", "\r"])
ANY_TEXT = st.text(alphabet="ab \t\n\r\f\v\x1c\x7f\x80\x85\u07ff\u0800\u2028é名\uffff\U00010000😀", max_size=40)


@st.composite
def atoms(draw: st.DrawFn) -> str:
    """An expression, some over several lines, with characters of one to four UTF-8 bytes."""
    newline = draw(NEWLINES)
    return draw(
        st.sampled_from(
            [
                "x",
                "名前",
                "f(x,\ty)",
                "'é\x0c\x85\u2028\x1c'",
                f"'''a{newline}😀b'''",
                f"[1,{newline}\té]",
                f"'\\{newline}z'",
                "'😀' + y[0]",
                "f'é{x!r} {名前}'",
            ]
        )
    )


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Source text of a few statements, each with its own newline style, the last perhaps without one."""
    text = ""
    for _ in range(draw(st.integers(0, 5))):
        newline, first, second = draw(NEWLINES), draw(atoms()), draw(atoms())
        lines = [
            f"{first}; {second}",
            f"a = {first}  # \f\v\x85\u2028é",
            f"\fb[{first}] = {second}",
            "",
            f"if {first}:{newline}\t{second}",
            f"def g():{newline}    return {first}",
        ]
        text += draw(st.sampled_from(lines)) + newline
    return text if draw(st.booleans()) else text.rstrip("\r\n")


def unified(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def expressions(text: str) -> list[ast.expr]:
    """All expressions but the parts of f-strings, which have no positions of their own before 3.12."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.expr)]
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    return [node for node in nodes if id(node) not in parts]


@given(programs())
def test_the_span_of_a_node_holds_its_code(text: str) -> None:
    source = Source.from_text("f.py", text)
    for node in expressions(text):
        code = source.span_of(node).text(text)
        again = ast.parse(f"({unified(code)}\n)", mode="eval").body
        assert ast.dump(again) == ast.dump(node).replace("Store()", "Load()")


@given(programs())
def test_positions_and_ast_positions_name_the_same_place(text: str) -> None:
    source = Source.from_text("f.py", text)
    for node in expressions(text):
        start = source.span_of(node).start
        assert source.offset(node.lineno, node.col_offset) == start
        assert source.position(start).line == node.lineno
        assert source.utf8_column(start) == node.col_offset


@given(programs(), st.booleans())
def test_bytes_are_decoded_as_python_parses_them(text: str, bom: bool) -> None:
    data = (codecs.BOM_UTF8 if bom else b"") + text.encode()
    source = Source.from_bytes("f.py", data)
    assert (source.text, source.bom, source.encode(text)) == (text, bom, data)
    expected = ast.dump(ast.parse(data), include_attributes=True)
    assert ast.dump(ast.parse(source.text), include_attributes=True) == expected


@given(ANY_TEXT)
def test_lines_and_newlines_put_together_are_the_text(text: str) -> None:
    source = Source.from_text("f.py", text)
    lines = range(1, source.line_count + 1)
    assert "".join(source.line_text(line) + source.newline_at(line) for line in lines) == text
    assert [source.line_text(line) for line in lines] == unified(text).split("\n")


@given(ANY_TEXT)
def test_columns_count_the_units_of_the_text_before(text: str) -> None:
    source = Source.from_text("f.py", text)
    for offset in range(len(text) + 1):
        line, column = source.position(offset).line, source.position(offset).column
        before = text[source.line_span(line).start : offset]
        assert len(before) == column
        assert source.utf8_column(offset) == len(before.encode())
        assert source.utf16_column(offset) == len(before.encode("utf-16-le")) // 2
        assert source.offset(line, source.utf8_column(offset)) == offset
        if not text[:offset].endswith("\r") or text[offset : offset + 1] != "\n":  # no editor stands inside a CRLF
            assert source.offset_of(Position(line, column)) == offset


@pytest.mark.parametrize(
    ("text", "newline"),
    [
        ("", "\n"),
        ("a", "\n"),
        ("a\nb\n", "\n"),
        ("a\r\nb\r\n", "\r\n"),
        ("a\rb\r", "\r"),
        ("a\r\nb\nc\n", "\n"),
        ("a\nb\r\nc\r\n", "\r\n"),
        ("a\r\nb\n", "\r\n"),
        ("a\nb\r\n", "\n"),
        ("a\f\v\x85\u2028b", "\n"),
    ],
)
def test_the_newline_used_most_wins_and_the_first_when_equal(text: str, newline: str) -> None:
    assert Source.from_text("f.py", text).newline == newline


def test_a_final_newline_opens_an_empty_last_line() -> None:
    source = Source.from_text("f.py", "a\n")
    assert source.line_count == 2
    assert source.position(2) == Position(2, 0)
    assert source.newline_at(2) == ""
    assert Source.from_text("f.py", "").line_count == 1


def test_columns_past_the_end_of_a_line_mean_its_end() -> None:
    source = Source.from_text("f.py", "é😀\r\nab\n")
    assert source.offset_of(Position(2, 99)) == 6


@pytest.mark.parametrize("line", [0, -1, 3])
def test_a_line_that_is_not_there_is_an_error(line: int) -> None:
    source = Source.from_text("f.py", "a\nb")
    for ask in (source.line_span, source.newline_at, lambda line: source.offset(line, 0)):
        with pytest.raises(ValueError, match=f"no line {line}"):
            ask(line)


@pytest.mark.parametrize("offset", [-1, 2])
def test_an_offset_outside_the_text_is_an_error(offset: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        Source.from_text("f.py", "a").position(offset)


def test_a_node_without_position_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"ast\.Module has no position"):
        Source.from_text("f.py", "a").span_of(ast.parse("a"))


COOKIES = {
    "latin-1": b"# coding: latin-1\nx = '\xe9'\n",
    "on the second line": b"#!/usr/bin/env python\n# vim: set fileencoding=latin-1 :\nx = '\xe9'\n",
    "after a form feed": b"\f\r\n# coding=latin-1\r\nx = '\xe9'\r\n",
    "lines that end in CR": b"# one\r# coding: latin-1\rx = '\xe9'\r",
    "on the third line": b"\n\n# coding: latin-1\nx = '\xe9'\n",
    "not in a comment": b"x = 1  # coding: latin-1\ny = '\xe9'\n",
    "after code": b"y = 1\n# coding: latin-1\nx = '\xe9'\n",
    "after bytes it would have to explain": b"# \xe9\n# coding: latin-1\nx = 1\n",
    "none, bad comment": b"# \xe9\nx = 1\n",
    "none, good UTF-8": b"x = '\xc3\xa9'\n",
    "bom": b"\xef\xbb\xbfx = '\xc3\xa9'\n",
    "bom and cookie": b"\xef\xbb\xbf# coding: utf-8\nx = '\xc3\xa9'\n",
    "bom against cookie": b"\xef\xbb\xbf# coding: latin-1\nx = 1\n",
    "two bytes a character": b"# coding: shift_jis\nx = '\x83\x5c'\n",
    "unknown": b"# coding: klingon\nx = 1\n",
}


@pytest.mark.parametrize("name", COOKIES)
def test_encodings_are_accepted_as_the_running_python_accepts_them(name: str, tmp_path: Path) -> None:
    data = COOKIES[name]
    path = tmp_path / "f.py"
    path.write_bytes(data + b"print(ascii(globals().get('x')))\n".replace(b"\n", b"\r" if b"\n" not in data else b"\n"))
    run = subprocess.run([sys.executable, "-S", "-I", path], capture_output=True, text=True, check=False)
    try:
        source = Source.from_bytes("f.py", data)
    except FileProblem:
        assert run.returncode == 1
        return
    assert run.returncode == 0, run.stderr
    assert source.encode(source.text) == data
    scope: dict[str, object] = {}
    exec(source.text, scope)
    assert run.stdout.strip() == ascii(scope["x"])


@pytest.mark.parametrize(
    ("data", "reason", "line"),
    [
        (b"x = 1\n\ny = '\xff'\n", "not valid utf-8: byte 0xff", 3),
        (b"x = 1\r\ry = \0\n", "a NUL byte, which Python doesn't accept in source code", 3),
        (b"\x7fELF\x02\0\0\xff\xfe", "a binary file, not Python source", None),
        ("x = 1\n".encode("utf-16"), "UTF-16 text, which Python doesn't read; save it as UTF-8", None),
        ("x = 1\n".encode("utf-32"), "UTF-32 text, which Python doesn't read; save it as UTF-8", None),
        (b"# coding: klingon\n", "unknown encoding: klingon", None),
        (b"\xef\xbb\xbf# coding: klingon\n", "unknown encoding: klingon", None),
        (b"\xef\xbb\xbf# coding: latin-1\n", "a UTF-8 byte order mark, and a comment that declares another", None),
        (b"# coding: ascii\nx = '\xe9'\n", "not valid ascii: byte 0xe9", 2),
        (b"# coding: rot13\n", "can't be decoded as rot13", None),
        (b"# coding: utf-7\nx = '+AGE-'\n", "utf-7 doesn't give back the bytes of this file; save it as UTF-8", None),
    ],
)
def test_what_is_no_source_is_refused_with_a_reason(data: bytes, reason: str, line: int | None) -> None:
    with pytest.raises(FileProblem) as caught:
        Source.from_bytes("some/f.py", data)
    assert caught.value.reason.startswith(reason)
    assert "\n" not in str(caught.value)
    assert (caught.value.path, caught.value.line) == ("some/f.py", line)


def test_text_already_decoded_is_checked_too() -> None:
    assert Source.from_text("f.py", "\ufeffx") == Source("f.py", "x", "utf-8", bom=True)
    with pytest.raises(FileProblem, match=r"f.py:2: a NUL byte"):
        Source.from_text("f.py", "a\n\0")
    with pytest.raises(FileProblem, match=r"f.py:2: utf-8 has no character U\+D800"):
        Source.from_text("f.py", "a\n\ud800")


def test_new_characters_the_encoding_lacks_are_a_problem_of_that_file() -> None:
    source = Source.from_bytes("f.py", b"# coding: latin-1\nx = '\xe9'\n")
    assert source.encode(source.text + "é") == b"# coding: latin-1\nx = '\xe9'\n\xe9"
    with pytest.raises(FileProblem, match=r"f.py:3: iso-8859-1 has no character U\+2192"):
        source.encode(source.text + "→")


def test_sources_stay_values_after_their_lines_were_asked_for() -> None:
    source, fresh = Source.from_text("f.py", "a\né\n"), Source.from_text("f.py", "a\né\n")
    assert source.position(2) == Position(2, 0)
    assert source == fresh
    assert hash(source) == hash(fresh)
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert copy.position(3) == source.position(3)


def test_spans() -> None:
    span = Span(2, 5)
    assert len(span) == 3
    assert span.text("abcdefg") == "cde"
    assert [span.contains(offset) for offset in (1, 2, 4, 5)] == [False, True, True, False]
    assert span.contains(Span(2, 5))
    assert span.contains(Span(5, 5))
    assert not span.contains(Span(4, 6))
    assert span.overlaps(Span(4, 9))
    assert span.overlaps(Span(3, 3))
    assert not span.overlaps(Span(5, 9))
    assert not span.overlaps(Span(2, 2))
    assert not Span(2, 2).overlaps(Span(2, 2))
    assert bool(Span(2, 2))
    assert sorted([Span(3, 4), Span(2, 9), Span(2, 3)]) == [Span(2, 3), Span(2, 9), Span(3, 4)]
    for start, end in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="no span"):
            Span(start, end)
