"""Passes, overlaps, exclusions and what can go wrong, with codemods made of regular expressions."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from fakes import fake, refusing, replacing

from gradfix import edits as edit_sets
from gradfix import registry
from gradfix.codemod import Codemod
from gradfix.edits import Edit
from gradfix.engine.engine import PATIENCE, Policy, check_source, fix
from gradfix.engine.passes import FRUITLESS, Bred
from gradfix.errors import FileProblem
from gradfix.findings import Applicability, Identity, Severity
from gradfix.results import FixResult, Status
from gradfix.source import Source, Span

DEFAULT = Policy()


def _source(text: str) -> Source:
    return Source.from_text("f.py", text)


def _fixed(text: str, *codemods: Codemod, policy: Policy = DEFAULT, excluded: frozenset[Identity] = frozenset()) -> str:
    return edit_sets.apply(text, _fix(text, *codemods, policy=policy, excluded=excluded).edits)


def _fix(
    text: str, *codemods: Codemod, policy: Policy = DEFAULT, excluded: frozenset[Identity] = frozenset()
) -> FixResult:
    return fix(_source(text), codemods, policy, excluded)


def test_findings_come_by_place_whatever_the_order_of_codemods() -> None:
    found = check_source(_source("b = 1\na = 1\n"), [replacing("a", "c"), replacing("b", "c", code="GF900")])
    assert [finding.message for finding in found] == ["found `b`", "found `a`"]


def test_a_comment_silences_finding_and_fix() -> None:
    text = "bad  # gradfix: ignore[fake]\nbad  # noqa: GF901\nbad  # noqa: GF902\n"
    result = _fix(text, replacing("^bad", "good"))
    assert edit_sets.apply(text, result.edits) == text.replace("bad  # noqa: GF902", "good  # noqa: GF902")
    assert len(result.results) == 1


def test_a_fix_that_needs_two_passes_is_told_as_edits_of_the_original() -> None:
    result = _fix("x = one\nkeep = 2\n", replacing("one", "two"), replacing("= two", "= three", code="GF900"))
    assert result.passes == 3
    assert edit_sets.apply("x = one\nkeep = 2\n", result.edits) == "x = three\nkeep = 2\n"
    assert [r.passes for r in result.applied] == [1, 2]


def test_overlapping_fixes_wait_for_the_next_pass() -> None:
    inner = replacing(r"\ba\b", "b", code="GF901")
    outer = replacing(r"f\((\w)\)", r"g(\1)", code="GF902", name="outer")
    result = _fix("f(a)\n", inner, outer)
    assert edit_sets.apply("f(a)\n", result.edits) == "g(b)\n"
    assert [(r.finding.code, r.passes) for r in result.applied] == [("GF902", 1), ("GF901", 2)]


def test_of_two_fixes_in_one_line_the_second_sees_what_the_first_made() -> None:
    left, right = replacing(r"\ba\b", "b", code="GF901"), replacing(r"\bc\b", "d", code="GF902", name="right")
    result = _fix("a + c\nc\n", left, right)
    assert edit_sets.apply("a + c\nc\n", result.edits) == "b + d\nd\n"
    assert result.passes == 3  # the last of them finds nothing


@pytest.mark.parametrize(("inserted", "passes"), [("y = ", 3), ("y = 1\n", 2)])
def test_what_is_put_into_a_line_waits_and_what_is_put_before_it_does_not(inserted: str, passes: int) -> None:
    left, right = replacing(r"^(?=f)", inserted, code="GF901"), replacing(r"\ba\b", "b", code="GF902", name="right")
    once = replace(left, find=lambda s, f: iter(()) if inserted in s.text else left.find(s, f))
    result = _fix("f(a)\n", once, right)
    assert edit_sets.apply("f(a)\n", result.edits) == f"{inserted}f(b)\n"
    assert result.passes == passes


def test_two_fixes_that_add_the_same_import_add_it_once() -> None:
    adding = replacing("bad", "good", at_top="import torch\n")
    assert _fixed("bad\nbad\n", adding) == "import torch\ngood\ngood\n"


def test_a_finding_left_out_by_identity_stays_out_when_its_ordinal_shifts() -> None:
    text = "bad\nbad\nbad\n"
    adding = replacing("bad", "good", at_top="import torch\n")  # one a pass at first: the ordinals shift meanwhile
    second = Identity("GF901", "<module>", "bad", 1)
    result = _fix(text, adding, excluded=frozenset({second}))
    assert edit_sets.apply(text, result.edits) == "import torch\ngood\nbad\ngood\n"
    assert [r.finding.identity for r in result.left] == [second]
    assert result.left[0].source.text == text


def test_of_several_writes_to_one_storage_only_what_the_first_fix_does_not_cure_is_fixed() -> None:
    text = "bad\nother\nbad\nbad\n"
    every = replacing("bad", "good", storage="y")
    curing = replace(every, find=lambda s, f: iter(()) if "good" in s.text else every.find(s, f))
    result = _fix(text, curing)
    assert edit_sets.apply(text, result.edits) == "good\nother\nbad\nbad\n"
    assert [r.status for r in result.results] == [Status.APPLIED, Status.CURED, Status.CURED]
    assert edit_sets.apply(text, _fix(text, every).edits) == "good\nother\ngood\ngood\n"


def test_many_writes_to_one_storage_that_all_need_a_fix_take_few_passes() -> None:
    text = "bad\n" * 50
    result = _fix(text, replacing("bad", "good", storage="y"))
    assert edit_sets.apply(text, result.edits) == "good\n" * 50
    assert len(result.applied) == 50
    assert result.passes == PATIENCE + 2


def test_a_finding_keeps_its_name_though_its_fix_reaches_into_what_others_made() -> None:
    text = "bad\none\nbad\n"

    def from_line_two(source: Source, match: re.Match[str]) -> tuple[Edit, ...]:
        start = match.start() and source.text.index("\n") + 1
        return (Edit(Span(start, match.end()), "good"),)

    first = replacing("one", "two", severity=Severity.ERROR)
    reaching = fake("bad", [from_line_two], code="GF902", name="reaching")
    result = _fix(text, first, reaching)
    assert edit_sets.apply(text, result.edits) == "good\ngood\n"
    names = [(r.finding.code, r.finding.identity.ordinal, r.passes) for r in result.applied]
    assert names == [("GF901", 0, 1), ("GF902", 0, 1), ("GF902", 1, 2)]
    assert result.cured == ()
    without = _fix(text, first, reaching, excluded=frozenset({result.applied[2].finding.identity}))
    assert edit_sets.apply(text, without.edits) == "good\ntwo\nbad\n"


def test_fixes_that_undo_each_other_stop_with_an_error() -> None:
    there, back = replacing("ping", "pong"), replacing("pong", "ping", code="GF900", name="back")
    with pytest.raises(FileProblem, match=r"f\.py: fixes undo each other.*GF900 \(back\)"):
        _fix("ping\n", there, back)


def test_a_fix_after_which_its_finding_comes_back_is_left_and_the_others_are_made() -> None:
    result = _fix("x\ny\n", replacing("x$", "xx"), replacing("y", "z", code="GF900", name="fine"))
    assert edit_sets.apply("x\ny\n", result.edits) == "x\nz\n"
    (left,) = result.left
    assert left.refusal is not None
    assert left.refusal.reason == "the write is still a hazard after its fix"


def test_a_fix_that_breeds_findings_in_its_own_text_is_left_and_the_others_are_made() -> None:
    text = (
        "import torch\nfrom torch import nn\n\nx = torch.randn(3, requires_grad=True)\nh = x.exp()\nh[0] = 1\n"
        "acts = nn.Sequential(nn.LeakyReLU(0.1, True), nn.ELU(inplace=True), nn.ELU(inplace=True))\n"
        "output_of_layer = x.erf()\nz = acts(output_of_layer)\n(h.sum() + output_of_layer.sum()).backward()\n"
    )
    result = fix(_source(text), registry.builtin(), DEFAULT)
    assert [r.finding.code for r in result.applied] == ["GF101"]
    assert [(r.finding.code, r.status) for r in result.left] == [("GF104", Status.LEFT)]


@pytest.mark.parametrize(
    "line",
    [
        "; ".join(f"t{i}.mul_(2)" for i in range(12)),
        "r = (" + ", ".join(f"t{i}.mul_(2)" for i in range(12)) + ")",
        "r = " + " + ".join(f"t{i % 2}.mul_(2).sin()" for i in range(12)),
    ],
)
def test_a_line_of_many_writes_is_fixed_whole(line: str) -> None:
    made = "".join(f"t{i} = x.exp()\n" for i in range(12))
    loss = " + ".join(f"t{i}.sum()" for i in range(12))
    text = f"import torch\nx = torch.randn(3, requires_grad=True)\n{made}{line}\nloss = {loss}\nloss.backward()\n"
    result = fix(_source(text), registry.builtin(), DEFAULT)
    assert "mul_" in text
    assert not result.left
    exec(compile(edit_sets.apply(text, result.edits), "f.py", "exec"), {})


def test_what_is_left_in_a_text_that_a_fix_made_is_not_bred() -> None:
    root = Identity("GF901", "f", "x", 0)
    left, bred = Bred(), Bred()
    assert not any(left.seen({root: 1}, frozenset()) for _ in range(3 * FRUITLESS))
    assert not any(bred.seen({root: 30 - n}, {root}) for n in range(30))
    assert [bool(bred.seen({root: 1}, {root})) for _ in range(FRUITLESS + 1)] == [False] * FRUITLESS + [True]


def test_a_fix_that_breeds_findings_of_another_code_is_left_too() -> None:
    text = (
        "import torch\nfrom torch import nn\n\nx = torch.randn(3, 3, requires_grad=True)\nh = x * 2\n"
        "norm = nn.LayerNorm(3)\nflat = h.view(-1)\ny = norm(h)\n"
        "stack = nn.Sequential(nn.ReLU(inplace=True), nn.ELU(inplace=True))\nz = stack(flat)\n"
        "(y.sum() + h.prod()).backward()\n"
    )
    result = fix(_source(text), registry.builtin(), DEFAULT)
    assert "stack(flat.clone().clone()" not in edit_sets.apply(text, result.edits)
    assert "GF501" in {r.finding.code for r in result.results}


def test_a_fix_that_breaks_the_syntax_is_left_and_the_others_are_made() -> None:
    result = _fix("a = 1\nb = 2\n", replacing("a = 1", "a = ("), replacing("b", "c", code="GF900", name="fine"))
    assert edit_sets.apply("a = 1\nb = 2\n", result.edits) == "a = 1\nc = 2\n"
    (left,) = result.left
    assert left.finding.code == "GF901"
    assert left.refusal is not None
    assert "Python can't parse" in left.refusal.reason


def test_refusals_unsafe_fixes_and_suggestions_are_left_with_their_reasons() -> None:
    codemods = [
        refusing("one", "an alias is read"),
        replacing("two", "2", code="GF903", name="risky", applicability=Applicability.UNSAFE),
        replacing("three", "3", code="GF904", name="shown", applicability=Applicability.DISPLAYONLY),
    ]
    result = _fix("one, two, three\n", *codemods)
    assert result.edits == ()
    reasons = [r.refusal.reason for r in result.left if r.refusal]
    assert reasons == ["an alias is read", "its fix is unsafe", "its fix is only a suggestion"]
    assert all(r.status is Status.LEFT for r in result.left)
    unsafe = Policy(applicability=Applicability.UNSAFE)
    assert _fixed("one, two, three\n", *codemods, policy=unsafe) == "one, 2, three\n"


def test_below_the_severity_nothing_is_reported_or_fixed() -> None:
    harmless = replacing("x", "y", severity=Severity.INFO)
    assert _fix("x\n", harmless).results == ()
    assert _fixed("x\n", harmless, policy=Policy(severity=Severity.INFO)) == "y\n"


def test_a_harmless_write_that_a_fix_leaves_behind_is_no_finding() -> None:
    text = "import torch\n\n\ndef f(x):\n    y = x.exp()\n    y[0] = 10\n    return y\n"
    result = fix(_source(text), registry.builtin(), Policy(severity=Severity.INFO))
    assert "y = x.exp().clone()" in edit_sets.apply(text, result.edits)
    assert [r.status for r in result.results] == [Status.APPLIED]


def test_alternatives_are_built_in_order() -> None:
    (result,) = _fix("x\n", replacing("x", "y", also=("z", "w"))).applied
    assert result.fix is not None
    assert [fix.edits[0].text for fix in (result.fix, *result.alternatives)] == ["y", "z", "w"]


def test_a_codemod_that_builds_an_edit_outside_the_text_is_named_by_the_error() -> None:
    broken = fake("x", [lambda source, match: (Edit(Span(90, 99), "y"),)])
    result = _fix("x\n", broken)
    assert result.edits == ()
    assert "Python can't parse" in str(result.left[0].refusal)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:\n", r"f\.py:1: syntax error"),
        ("x = 1\nprint 'hi'\n", r"f\.py:2: syntax error: Missing parentheses.*Python 2"),
        ("x = " + "(" * 1000 + ")" * 1000 + "\n", r"f\.py:1: nested too deeply"),
        ("x = " + "-" * 200_000 + "1\n", r"f\.py: nested too deeply|f\.py:1: "),
        ("".join(" " * i + "if x:\n" for i in range(200)) + " " * 200 + "pass\n", r"nested too deeply"),
    ],
)
def test_text_that_cannot_be_parsed_is_a_problem_of_the_file(text: str, says: str) -> None:
    with pytest.raises(FileProblem, match=says):
        check_source(_source(text), [])


def test_a_chain_that_python_parses_but_cannot_spell_is_a_problem_of_the_file() -> None:
    text = "import torch\nx = torch.randn(3, requires_grad=True)\ny = x.exp()\n"
    with pytest.raises(FileProblem, match="nested too deeply"):
        check_source(_source(f"{text}y{'.add(0)' * 400}.add_(1)\ny[0] = 1\ny.sum().backward()\n"), registry.builtin())


def test_warnings_of_the_parser_are_silent(recwarn: pytest.WarningsRecorder) -> None:
    check_source(_source("x = '\\d'\nif x is 'y':\n    pass\n"), [])
    assert list(recwarn) == []


def test_the_release_of_torch_decides_what_is_saved() -> None:
    text = "import torch\nx = torch.ones(3, requires_grad=True)\ny = torch.ldexp(x, x)\ny[0] = 1\ny.sum().backward()\n"
    source, codemods = _source(text), registry.builtin()
    for minor, severity in (("2.13", Severity.ERROR), ("2.4", Severity.INFO)):
        assert [found.severity for found in check_source(source, codemods, minor)] == [severity]
        applied = fix(source, codemods, Policy(torch=minor)).applied
        assert bool(applied) is (severity is Severity.ERROR)


HARMLESS = "import torch\n\n\ndef f(x: torch.Tensor):\n    y = x + 2\n    y[0] = 1\n    return y\n"


def test_what_is_less_severe_than_asked_for_is_left_out() -> None:
    codemods = registry.builtin()
    assert [f.severity for f in check_source(_source(HARMLESS), codemods)] == [Severity.INFO]
    assert check_source(_source(HARMLESS), codemods, least=Severity.WARNING) == ()


def test_a_codemod_of_somebody_else_is_asked_whatever_the_facts_say() -> None:
    assert check_source(_source(HARMLESS), [replacing("2", "3")], least=Severity.ERROR)
