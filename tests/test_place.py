"""`FILE:LINE[:COL]` in all the ways editors write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import replacing

from gradfix.command_line.place import Place, covers, place_of
from gradfix.engine.engine import check_source
from gradfix.errors import UsageError
from gradfix.source import Source


@pytest.mark.parametrize(
    ("given", "stdin_filename", "place"),
    [
        (["a.py:3"], None, Place("a.py", 3)),
        (["a.py:3:7"], None, Place("a.py", 3, 7)),
        ([r"C:\src\a.py:3:7"], None, Place(r"C:\src\a.py", 3, 7)),
        ([r"C:\src\a.py:3"], None, Place(r"C:\src\a.py", 3)),
        (["odd:name.py:3:7"], None, Place("odd:name.py", 3, 7)),
        (["a:1:b.py:3"], None, Place("a:1:b.py", 3)),
        (["-:3"], "a.py", Place("-", 3, None, "a.py")),
        (["-:3:7"], None, Place("-", 3, 7)),
        (["a.py:3", "-"], None, Place("-", 3, None, "a.py")),
        (["a.py:3", "-"], "b.py", Place("-", 3, None, "b.py")),
        (["-"], "a.py:3:7", Place("-", 3, 7, "a.py")),
    ],
)
def test_places(given: list[str], stdin_filename: str | None, place: Place) -> None:
    assert place_of(given, stdin_filename) == place


def test_a_name_that_ends_in_a_number_is_found_on_disk(tmp_path: Path) -> None:
    (tmp_path / "log:12").write_text("")
    assert place_of([f"{tmp_path}/log:12:3"], None) == Place(f"{tmp_path}/log:12", 3)
    (tmp_path / "log").write_text("")
    assert place_of([f"{tmp_path}/log:12:3"], None) == Place(f"{tmp_path}/log", 12, 3)


@pytest.mark.parametrize("given", [["a.py"], ["a.py:x"], ["a.py:0"], ["a.py:1:0"], [":3"], ["a.py:1", "b.py:2"], ["-"]])
def test_what_is_no_place_is_a_usage_error(given: list[str]) -> None:
    with pytest.raises(UsageError):
        place_of(given, None)


@pytest.mark.parametrize(
    ("line", "column", "inside"),
    [(1, None, False), (2, None, True), (3, None, True), (4, None, False), (2, 4, False), (2, 5, True), (2, 99, True)]
    + [(3, 1, True), (3, 5, True), (3, 6, False)],
)
def test_a_finding_is_covered_from_its_first_to_just_after_its_last_character(
    line: int, column: int | None, inside: bool
) -> None:
    source = Source.from_text("a.py", "top\nab, bad(\n  1)\nend\n")
    (finding,) = check_source(source, [replacing(r"bad\(\n  1\)", "x")])
    assert covers(Place("a.py", line, column), source, finding) is inside
