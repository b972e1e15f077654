"""Results as people, editors and machines read them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes import refusing, replacing

from gradfix.codemod import Codemod
from gradfix.edits import Edit
from gradfix.engine.engine import Policy, check_source, fix, results
from gradfix.errors import FileProblem
from gradfix.findings import (
    BUDGET_SPENT,
    Applicability,
    Finding,
    Fix,
    Hazard,
    HazardKind,
    Identity,
    Judgement,
    Place,
    Severity,
    Verdict,
)
from gradfix.report import summary
from gradfix.report.concise import concise
from gradfix.report.full import full
from gradfix.report.paint import Paint
from gradfix.report.quickfix import quickfix_json
from gradfix.report.snippet import Label, snippet
from gradfix.report.structured import structured
from gradfix.results import FileResult, Result, Status
from gradfix.source import Source, Span


def _source(text: str) -> Source:
    return Source.from_text("f.py", text)


def _at(source: Source, piece: str, nth: int = 0) -> Span:
    start = -1
    for _ in range(nth + 1):
        start = source.text.index(piece, start + 1)
    return Span(start, start + len(piece))


def _result(text: str, save: str, write: str, new: str | None = None, **more: object) -> Result:
    source = _source(text)
    span = _at(source, write)
    places = Place(span, "overwritten here"), Place(_at(source, save), "`exp` saves its result here")
    hazard = Hazard(HazardKind.SAVED_THEN_WRITTEN, *places, "y")
    finding = Finding(
        "GF101",
        "index-assignment",
        Severity.ERROR,
        f"`{write}` overwrites `y`, which `exp` saved for backward",
        span,
        Identity("GF101", "<module>", "f", 0),
        hazard,
    )
    built = Fix(f"Replace `{write}`", Applicability.SAFE, (Edit(span, new),)) if new else None
    return Result(source, finding, Status.FOUND, built, **more)  # type: ignore[arg-type]


def _check(text: str, *codemods: Codemod) -> tuple[Source, tuple[Result, ...]]:
    source = _source(text)
    return source, results(source, check_source(source, codemods), Policy())


def _full(result: Result) -> str:
    return full([result], Paint())


def test_full_shows_both_places_the_fix_and_the_verdict() -> None:
    judged = Judgement(
        Verdict.FIXED, 'raised "modified by" before; after, same loss', oracle="clone-packing hooks", runs=8
    )
    result = _result(
        "import torch\ny = x.exp()\ny[0] = 10\nz = y.sum()\n", "x.exp()", "y[0] = 10", "y = new", judgement=judged
    )
    assert _full(result) == (
        "error[GF101]: `y[0] = 10` overwrites `y`, which `exp` saved for backward\n"
        " --> f.py:3:1\n"
        "  |\n"
        "2 | y = x.exp()\n"
        "  |     ------- `exp` saves its result here\n"
        "3 | y[0] = 10\n"
        "  | ^^^^^^^^^ overwritten here\n"
        "  |\n"
        "  = safe fix: Replace `y[0] = 10`\n"
        "3 - y[0] = 10\n"
        "3 + y = new\n"
        '  = fixed: raised "modified by" before; after, same loss; oracle: clone-packing hooks\n'
        "\n"
    )


@pytest.mark.parametrize(("between", "shown"), [(1, "2 | keep"), (2, "...")])
def test_places_far_apart_are_joined(between: int, shown: str) -> None:
    text = _full(_result("y = x.exp()\n" + "keep\n" * between + "y[0] = 10\n", "x.exp()", "y[0] = 10"))
    assert text.splitlines()[5] == shown
    assert text.splitlines()[6] == f"{between + 2} | y[0] = 10"


def test_a_write_above_its_save_comes_first() -> None:
    text = _full(_result("for t in r:\n    h += 1\n    o = h.exp()\n", "h.exp()", "h += 1"))
    assert text.index("overwritten here") < text.index("saves its result here")


def test_places_on_one_line_get_a_row_each_even_when_one_holds_the_other() -> None:
    text = _full(_result("h += h.exp()\n", "h.exp()", "h += h.exp()"))
    assert text.splitlines()[3:6] == [
        "1 | h += h.exp()",
        "  | ^^^^^^^^^^^^ overwritten here",
        "  |      ------- `exp` saves its result here",
    ]


def _marks(line: str, piece: str) -> str:
    source = _source(line)
    rows = list(snippet(source, [Label(_at(source, piece), "", primary=True)], 1, Paint()))
    return "\n".join(row[4:] for row in rows[1:])


def test_wide_characters_and_tabs_are_aligned() -> None:
    assert _marks('\ts = "波形"; y[0] = 1\n', "y[0] = 1") == '    s = "波形"; y[0] = 1\n' + " " * 16 + "^" * 8
    assert _marks("e\u0301 = y\n", "y") == "e\u0301 = y\n    ^"
    assert _marks("if x:\ty = 1\n", "y = 1") == "if x:   y = 1\n        ^^^^^"


def test_control_characters_do_not_reach_the_terminal() -> None:
    shown = _marks('y = "\x1b[31m\u202e"\x0c\n', "y")
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\u241b[31m" in shown


def test_names_of_files_and_quoted_code_send_no_escape_sequences_and_begin_no_lines() -> None:
    source = Source.from_text("a\x1b[31m\nb\u202e\u200d.py", 'y[0] = "\x1b[31m"\n')
    message = f"`{source.text.strip()}` overwrites `y`"
    finding = replace(_result("y[0]\n", "y", "y[0]").finding, message=message, hazard=None, span=Span(0, 4))
    result = Result(source, finding, Status.FOUND)
    assert concise([result]) == ('a\u241b[31m\u240ab\ufffd\u200d.py:1:1: GF101 `y[0] = "\u241b[31m"` overwrites `y`\n')
    shown = _full(result)
    assert "\x1b" not in shown
    assert " --> a\u241b[31m\u240ab\ufffd\u200d.py:1:1\n" in shown


def test_a_very_long_line_is_cut_around_its_marks() -> None:
    shown = _marks("a = [" + "1, " * 2000 + "]; y[0] = 1; b = [" + "2, " * 2000 + "]\n", "y[0] = 1").splitlines()
    assert shown[0].startswith("...")
    assert shown[0].endswith("...")
    assert len(shown[0]) <= 126
    at = shown[1].index("^")
    assert shown[0][at : at + 8] == "y[0] = 1"


def test_a_place_over_several_lines_is_marked_on_its_first() -> None:
    assert _marks("y[\n  0] = 1\n", "y[\n  0] = 1") == "y[\n^^ (to line 2)"


def test_colour_changes_nothing_but_colour() -> None:
    result = _result("y = x.exp()\ny[0] = 10\n", "x.exp()", "y[0] = 10", "y = new")
    painted = full([result], Paint(on=True))
    assert "\x1b[1;31merror[GF101]\x1b[0m" in painted
    assert "".join(piece.split("m", 1)[1] if i else piece for i, piece in enumerate(painted.split("\x1b["))) == _full(
        result
    )


def test_a_refusal_is_shown_with_its_advice() -> None:
    _, (result,) = _check("y\n", refusing("y", "`row` is read later"))
    assert "  = no fix: `row` is read later; do it by hand\n" in _full(result)


def test_alternatives_and_the_pass_are_shown() -> None:
    done = fix(
        _source("x = one\n"),
        [replacing("one", "two"), replacing("= two", "= 3", code="GF900", also=("= 4",))],
        Policy(),
    )
    text = full(done.applied, Paint())
    assert "  = or (safe fix): Replace `= two` (1)\n" in text
    assert "f.py:1:3 (in the text that the fixes before it made)" in text


def test_concise_lines_are_what_editors_parse() -> None:
    text = "y = x.exp()\nif a: y[0] = 10\n"
    unsafe = Fix("Replace", Applicability.UNSAFE, ())
    found = _result(text, "x.exp()", "y[0] = 10")
    message = "`y[0] = 10` overwrites `y`, which `exp` saved for backward"
    assert concise([found]) == f"f.py:2:7: GF101 {message}\n"
    assert concise([_result(text, "x.exp()", "y[0] = 10", "new")]) == f"f.py:2:7: GF101 [*] {message}\n"
    risky = Result(found.source, found.finding, Status.FOUND, unsafe)
    assert "[*]" not in concise([risky])
    assert "[*]" in concise([risky], unsafe=True)


def test_json_has_the_keys_of_ruff_and_our_own() -> None:
    judged = Judgement(Verdict.FIXED, "same loss", "program", "modified", "clone-packing hooks", 8, 0.0)
    result = _result("é = x.exp()\né; y[0] = 10\n", "x.exp()", "y[0] = 10", "new", judgement=judged)
    (row,) = json.loads(structured([result]))
    assert {
        "cell",
        "code",
        "end_location",
        "filename",
        "fix",
        "location",
        "message",
        "name",
        "noqa_row",
        "severity",
        "url",
    } <= set(row)
    assert row["location"] == {"row": 2, "column": 4}
    assert row["end_location"] == {"row": 2, "column": 13}
    assert row["fix"]["applicability"] == "safe"
    assert row["fix"]["edits"] == [{"content": "new", "location": row["location"], "end_location": row["end_location"]}]
    assert [(r["kind"], r["location"]["row"]) for r in row["related"]] == [("saved-at", 1), ("overwritten-at", 2)]
    assert row["verification"]["verdict"] == "fixed"
    assert row["verification"]["max_abs_grad_diff"] == 0.0


def test_json_of_a_file_that_could_not_be_read() -> None:
    (row,) = json.loads(structured([], [FileProblem("bad.py", "syntax error: odd", line=3)]))
    assert (row["code"], row["location"]["row"], row["message"]) == (None, 3, "syntax error: odd")
    assert row["filename"].endswith("bad.py")


def test_quickfix_ranges_count_in_three_units() -> None:
    text = "s = '😀é'; y[0] = 1\n"
    source, (result,) = _check(text, replacing(r"y\[0\] = 1", "y = z"))
    (finding,) = json.loads(quickfix_json(source, [result]))["findings"]
    (edit,) = finding["fixes"][0]["edits"]
    at = text.index("y[0]")
    assert edit["range"]["utf16"]["start"] == {"line": 0, "character": at + 1}  # 😀 is two units
    assert edit["range"]["utf8"]["start"] == {"line": 0, "character": at + 4}  # 😀 four bytes, é two
    start, end = edit["range"]["bytes"]
    encoded = text.encode()
    assert (encoded[:start] + edit["new_text"].encode() + encoded[end:]).decode() == "s = '😀é'; y = z\n"


def test_quickfix_prefers_only_a_safe_first_fix() -> None:
    source, found = _check("x\n", replacing("x", "y", also=("z",)))
    (finding,) = json.loads(quickfix_json(source, found))["findings"]
    assert [fix["is_preferred"] for fix in finding["fixes"]] == [True, False]
    source, found = _check("x\n", replacing("x", "y", applicability=Applicability.DISPLAYONLY))
    (finding,) = json.loads(quickfix_json(source, found))["findings"]
    assert finding["fixes"][0]["is_preferred"] is False
    assert finding["fixes"][0]["title"] == "gradfix (GF901): Replace `x` (0) (suggestion)"


def test_the_lines_of_a_fix_carry_their_numbers() -> None:
    source = _source("one\ntwo\nthree\r\nfour\n")
    edits = (Edit(Span(0, 0), "zero\n"), Edit(_at(source, "three"), "3\r\nmore"))
    result = _result(source.text, "one", "three")
    shown = full([Result(source, result.finding, Status.FOUND, Fix("Do", Applicability.SAFE, edits))], Paint())
    assert shown.splitlines()[-5:] == ["1 + zero", "3 - three", "4 + 3", "5 + more", ""]


def test_summaries_count_and_say_what_to_do_next() -> None:
    _, found = _check(
        "x\nu\n", replacing("x", "y"), replacing("u", "v", code="GF900", name="u", applicability=Applicability.UNSAFE)
    )
    assert summary.checked(found) == (
        "Found 2 findings.\n[*] 1 fixable with `gradfix apply` (1 unsafe fix available with `--unsafe-fixes`)."
    )
    assert summary.checked([]) == "All checks passed!"
    result = fix(_source("x\n"), [replacing("x", "y")], Policy())
    files = [FileResult("f.py", _source("x\n"), result.results, result.edits)]
    assert summary.applied(files, dry=False) == "Fixed 1 finding in 1 file."
    assert summary.applied(files, dry=True) == "Would fix 1 finding in 1 file."


def test_the_summary_says_that_the_budget_was_spent() -> None:
    late = replace(
        _result("x\n", "x", "x", "y", judgement=Judgement(Verdict.UNCHECKED, BUDGET_SPENT)), status=Status.APPLIED
    )
    other = replace(late, judgement=Judgement(Verdict.UNCHECKED, "no oracle"))
    file = FileResult("f.py", _source("x\n"), (late, other), (Edit(Span(0, 1), "y"),))
    assert summary.applied([file], dry=True).splitlines() == [
        "Would fix 2 findings in 1 file (2 unchecked).",
        "1 fix came too late to be checked: `--verify-budget SECONDS` gives more time.",
    ]


def test_the_summary_tells_verdicts_cures_and_rejections() -> None:
    fixed, wrong = Judgement(Verdict.FIXED, ""), Judgement(Verdict.REJECTED, "")
    text = "y = x.exp()\ny[0] = 10\n"
    results = (
        _result(text, "x.exp()", "y[0] = 10", "new", judgement=fixed),
        _result(text, "x.exp()", "y[0] = 10"),
        _result(text, "x.exp()", "y[0] = 10", "new", judgement=wrong),
    )
    states = (Status.APPLIED, Status.CURED, Status.LEFT)
    done = tuple(replace(result, status=status) for result, status in zip(results, states, strict=True))
    file = FileResult("f.py", _source(text), done, (Edit(Span(0, 1), "z"),))
    assert summary.applied([file], dry=False) == (
        "Fixed 2 findings in 1 file (1 fixed, 1 cured with others).\n1 finding left, 1 rejected by the backward check."
    )
