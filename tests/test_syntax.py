"""What is said about text this Python can't parse."""

from __future__ import annotations

import pytest

from gradfix import syntax
from gradfix.source import Source


def _reason(text: str, message: str, running: tuple[int, int], line: int = 1) -> str:
    error = SyntaxError(message)
    error.lineno = line
    return syntax.problem(Source.from_text("f.py", text), error, running).reason


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("type Pair = tuple[int, int]", "3.12"),
        ("def first[T](xs: list[T]) -> T:", "3.12"),
        ("class Box[T]:", "3.12"),
        ("class Box[T = int]:", "3.13"),
        ("type Box[T = int] = list[T]", "3.13"),
        ("x = t'hello {name}'", "3.14"),
        ("    except* ValueError:", "3.11"),
    ],
)
def test_syntax_of_a_newer_python_is_told_apart(line: str, needs: str) -> None:
    reason = _reason(line, "invalid syntax", (3, 10))
    assert f"needs Python {needs}, and gradfix runs on 3.10" in reason
    assert _reason(line, "invalid syntax", (3, 14)) == "syntax error: invalid syntax"


def test_new_f_strings_are_told_by_message_and_line() -> None:
    line = 'print(f"{names["a"]}")'
    assert "needs Python 3.12" in _reason(line, "f-string: expecting '}'", (3, 11))
    assert _reason(line, "invalid syntax", (3, 11)) == "syntax error: invalid syntax"


def test_types_without_parentheses_are_of_python_2_or_of_a_new_one() -> None:
    reason = _reason("except A, B:", "multiple exception types must be parenthesized", (3, 11))
    assert "Python 2" in reason
    assert "3.14" in reason


def test_a_line_number_outside_the_text_is_left_out() -> None:
    error = SyntaxError("odd")
    error.lineno = 7
    assert syntax.problem(Source.from_text("f.py", "x"), error).line is None
