"""Patches: what `git apply` and `patch` make of them is what `edits.apply` makes, byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unidiff import PatchSet

from gradfix import edits, patches
from gradfix.edits import Edit
from gradfix.errors import EditError, FileProblem
from gradfix.source import Source, Span

TOOLS = {"git": ["git", "apply", "--whitespace=nowarn"], "patch": ["patch", "-p1", "--binary", "-s", "-i"]}
TEXT = st.one_of(
    st.text(alphabet="ab\n\n\n\r", max_size=30),
    st.lists(st.sampled_from(["", "a", "b", "+ c", "--- d", "\\ e", "\f\x85\u2028é"]), max_size=25).flatmap(
        lambda lines: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda newline: newline.join(lines))
    ),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, bool, list[Edit]]:
    """A text, whether its file begins with a byte order mark, and edits."""
    text = draw(TEXT)
    places = st.one_of(st.integers(0, len(text)), st.sampled_from([0, len(text)]))
    cuts = sorted(draw(st.lists(places, max_size=8)))
    new = st.one_of(st.just("\n"), st.text(alphabet="xa\n\r", max_size=4))
    made = [Edit(Span(*pair), draw(new)) for pair in zip(cuts[::2], cuts[1::2], strict=False)]
    return text, draw(st.booleans()), made


def applied(tool: str, patch: bytes, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files after `tool` applied `patch` to them, in a folder of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        (folder / "the.diff").write_bytes(patch)
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
        subprocess.run([*TOOLS[tool], "the.diff"], cwd=folder, check=True, env=environment, capture_output=True)
        return {path: (folder / path).read_bytes() for path in files}


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    return name


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(cases(), min_size=1, max_size=30), st.integers(1, 4))
def test_tools_make_of_the_patch_what_the_edits_make(
    tool: str, several: list[tuple[str, bool, list[Edit]]], context: int
) -> None:
    before, after, patch = {}, {}, b""
    for number, (text, bom, made) in enumerate(several):
        source = Source(f"d/f{number}.py", text, "utf-8", bom)
        before[source.path], after[source.path] = source.encode(text), source.encode(edits.apply(text, made))
        patch += patches.encode(source, patches.patch_of(source, made, context=context))
    if patch:  # an empty patch is an error to git
        assert applied(tool, patch, before) == after
    else:
        assert before == after


@given(cases(), st.integers(0, 4))
def test_unidiff_reads_back_the_objects_that_were_printed(case: tuple[str, bool, list[Edit]], context: int) -> None:
    text, bom, made = case
    patch = patches.patch_of(Source("d/f.py", text, "utf-8", bom), made, context=context)
    read = PatchSet(patches.render([patch]))
    assert [str(file) for file in read] == ([str(patch)] if patch else [])
    for hunk, again in zip(patch, read[0] if read else [], strict=True):
        assert hunk.is_valid()
        for line, line_again in zip(hunk, again, strict=True):
            line_again.diff_line_no = line.diff_line_no
            assert line == line_again


@given(cases())
def test_no_line_at_the_edge_of_a_change_is_removed_and_added(case: tuple[str, bool, list[Edit]]) -> None:
    text, bom, made = case
    for hunk in patches.patch_of(Source("f.py", text, "utf-8", bom), made):
        for removed, added in changes(hunk):
            assert not removed or not added or (removed[0] != added[0] and removed[-1] != added[-1])


def changes(hunk: object) -> Iterator[tuple[list[str], list[str]]]:
    """The runs of changed lines; a final line without newline keeps its marker, so that it differs from one with."""
    removed: list[str] = []
    added: list[str] = []
    last = removed
    for line in hunk:  # type: ignore[attr-defined]
        if line.line_type == "\\":
            if last:
                last[-1] += "no newline"
        elif line.line_type == " ":
            yield removed, added
            removed, added, last = [], [], []
        else:
            last = removed if line.line_type == "-" else added
            last.append(line.value)
    yield removed, added


def numbered(count: int) -> str:
    return "".join(f"line {number}\n" for number in range(1, count + 1))


def replaced(text: str, *pairs: tuple[str, str]) -> list[Edit]:
    return [Edit(Span(text.index(old), text.index(old) + len(old)), new) for old, new in pairs]


def test_the_whole_text_of_a_patch() -> None:
    text = numbered(30)
    made = replaced(text, ("line 5\n", "LINE 5\nextra\n"), ("line 12\n", ""), ("line 20", "LINE 20"))
    assert patches.render([patches.patch_of(Source.from_text("./pkg/f.py", text), made)]) == (
        "--- a/pkg/f.py\n+++ b/pkg/f.py\n"
        "@@ -2,14 +2,14 @@\n line 2\n line 3\n line 4\n-line 5\n+LINE 5\n+extra\n line 6\n line 7\n line 8\n line 9\n"
        " line 10\n line 11\n-line 12\n line 13\n line 14\n line 15\n"
        "@@ -17,7 +17,7 @@\n line 17\n line 18\n line 19\n-line 20\n+LINE 20\n line 21\n line 22\n line 23\n"
    )


@pytest.mark.parametrize(("second", "hunks"), [(11, 1), (12, 1), (13, 2)])
def test_hunks_whose_context_touches_are_one(second: int, hunks: int) -> None:
    text = numbered(30)
    made = replaced(text, ("line 5\n", "x\n"), (f"line {second}\n", "y\n"))
    assert len(patches.patch_of(Source.from_text("f.py", text), made)) == hunks


def test_a_missing_final_newline_is_said_on_each_side() -> None:
    source = Source.from_text("f.py", "a\nb")
    patch = patches.render([patches.patch_of(source, [Edit(Span(3, 3), "\nc\n")])])
    assert patch.endswith("@@ -1,2 +1,3 @@\n a\n-b\n\\ No newline at end of file\n+b\n+c\n")


@pytest.mark.parametrize(("text", "new", "ranges"), [("", "a\n", "@@ -0,0 +1,1 @@"), ("a\nb\n", "", "@@ -1,2 +0,0 @@")])
def test_no_lines_at_all_are_counted_from_line_zero(text: str, new: str, ranges: str) -> None:
    patch = patches.patch_of(Source.from_text("f.py", text), [Edit(Span(0, len(text)), new)])
    assert str(patch[0]).splitlines()[0] == ranges


def test_an_edit_over_many_lines_shows_only_those_that_changed_at_its_ends() -> None:
    text = numbered(9)
    patch = patches.patch_of(Source.from_text("f.py", text), [Edit(Span(0, len(text)), text.replace("line 5", "new"))])
    assert [str(line) for line in patch[0] if not line.is_context] == ["-line 5\n", "+new\n"]


@pytest.mark.parametrize("made", [[], [Edit(Span(0, 2), "a\n")], [Edit(Span(0, 1), "a"), Edit(Span(2, 2), "")]])
def test_edits_that_change_nothing_make_no_hunk(made: list[Edit]) -> None:
    source = Source.from_text("f.py", "a\nb\n")
    patch = patches.patch_of(source, made)
    assert not patch
    assert patches.render([patch]) == ""
    assert patches.encode(source, patch) == b""


def test_edits_outside_the_text_are_refused() -> None:
    with pytest.raises(EditError, match="outside"):
        patches.patch_of(Source("f.py", "a\n", "utf-8", bom=True), [Edit(Span(2, 3), "x")])


NAMES = [
    "with space.py",
    'quo"te.py',
    "ta\tb.py",
    "back\\slash.py",
    "new\nline.py",
    "é名😀.py",
    "\x01\x7f.py",
    " a .py",
]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"\xff.py")])
def test_odd_names_reach_the_tools(tool: str, name: str) -> None:
    source = Source.from_text(f"some dir/{name}", "a\n")
    patch = patches.patch_of(source, [Edit(Span(0, 1), "b")])
    assert applied(tool, patches.encode(source, patch), {source.path: b"a\n"}) == {source.path: b"b\n"}
    patches.render([patch]).encode()  # what is printed is Unicode, whatever the name


def test_quoting_is_that_of_git() -> None:
    header = patches.render([patches.patch_of(Source.from_text('a"\té\\.py', "a\n"), [Edit(Span(0, 1), "b")])])
    assert header.splitlines()[:2] == ['--- "a/a\\"\\té\\\\.py"', '+++ "b/a\\"\\té\\\\.py"']


def test_the_path_given_wins_and_roots_are_left_out() -> None:
    source, made = Source.from_text("/srv/f.py", "a\n"), [Edit(Span(0, 1), "b")]
    assert patches.patch_of(source, made).source_file == "a/srv/f.py"
    assert patches.patch_of(source, made, "x/f.py").target_file == "b/x/f.py"


def test_lines_are_encoded_as_the_file_is(tool: str) -> None:
    data = b"# coding: latin-1\nx = '\xe9'\n"
    source = Source.from_bytes("f.py", data)
    patch = patches.patch_of(source, replaced(source.text, ("x", "ö")))
    assert applied(tool, patches.encode(source, patch), {"f.py": data}) == {"f.py": data.replace(b"x =", b"\xf6 =")}
    with pytest.raises(FileProblem, match=r"U\+2192"):
        patches.encode(source, patches.patch_of(source, replaced(source.text, ("x", "→"))))


def test_marks_of_a_patch_are_ascii_whatever_the_lines_are(tool: str) -> None:
    data = b"# coding: utf-7\nx = 1\n"  # in UTF-7 a plus is `+-`
    source = Source.from_bytes("f.py", data)
    patch = patches.encode(source, patches.patch_of(source, replaced(source.text, ("1", "1 + 1"))))
    assert applied(tool, patch, {"f.py": data}) == {"f.py": b"# coding: utf-7\nx = 1 +- 1\n"}


def test_the_cost_follows_the_edits_and_one_pass_over_the_text() -> None:
    text = numbered(50_000)
    source = Source.from_text("f.py", text)
    starts = [text.index(f"line {number}\n") for number in range(200, 50_000, 500)]

    def seconds() -> float:
        start = time.process_time()
        patches.patch_of(source, [Edit(Span(at, at + 4), "LINE") for at in starts])
        return time.process_time() - start

    seconds()
    assert min(seconds() for _ in range(5)) < 0.03  # measured: 0.003; a line-by-line diff takes above 1
