"""Comments that silence findings: which lines they cover, what they name, which of them do nothing."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradfix.engine.suppress import Suppressions, suppressions
from gradfix.source import Source, Span

CODE, NAME = "GF101", "augmented-assignment"


def of(text: str) -> Suppressions:
    return suppressions(Source.from_text("f.py", text))


def covered(text: str, part: str = "x[0] = 1", code: str = CODE, name: str = NAME) -> bool:
    start = text.index(part)
    return of(text).covers(code, name, Span(start, start + len(part)))


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "#noqa",
        "# NOQA",
        "# NoQA : gf101",
        "# noqa:GF101",
        "# noqa: E501, GF101",
        "# noqa: E501 GF101 since the buffer is fresh",
        "# noqa: GF1",
        "# type: ignore[index]  # noqa: GF101",
        "# gradfix: ignore",
        "# gradfix: ignore because the buffer is fresh",
        "#gradfix:ignore[GF101]",
        "# gradfix: ignore[GF205, augmented-assignment] the buffer is fresh",
        "# gradfix: ignore [ GF1 ]",
        "# gradfix: ignore[GF2]  # gradfix: ignore[GF1]",
        "# gradfix: file-ignore",
        "# gradfix: file-ignore[GF1]",
    ],
)
def test_comments_that_silence(comment: str) -> None:
    assert covered(f"x[0] = 1  {comment}\n")
    assert not covered("x[0] = 1\n")


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: E501",
        "# noqa: GF102",
        "# noqa: GF1010",
        "# noqa:",
        "# noqa: why not",
        "# noqa-ish",
        "# noqaGF101",
        "# no qa",
        "# gradfix: ignore[GF102]",
        "# gradfix: ignore[masked-assignment]",
        "# gradfix: ignore[augmented]",
        "# gradfix: ignore[]",
        "# gradfix: ignore[GF101",
        "# gradfix: ignore [GF101",
        "# gradfix: ignored",
        "# gradfix: ignore-not",
        "# gradfix: verify f(x)",
        "# ruff: ignore[GF101]",
        "# GF101",
    ],
)
def test_comments_that_do_not(comment: str) -> None:
    assert not covered(f"x[0] = 1  {comment}\n")


@pytest.mark.parametrize(
    "text",
    [
        "x[0] = 1; y = '# noqa'\n",
        "x[0] = 1; y = f'# gradfix: ignore'\n",
        "'''\n# gradfix: file-ignore\n'''\nx[0] = 1\n",
        "x[0] = 1\n# noqa\n",
        "# noqa\nx[0] = 1\n",
        "y = 1  # noqa\nx[0] = 1\nz = 1  # noqa\n",
        "if a:  # noqa\n    x[0] = 1\n",
        "'''\n'''; '''# noqa'''; x[0] = 1\n",
    ],
)
def test_text_elsewhere_does_not_count(text: str) -> None:
    assert not covered(text)


@pytest.mark.parametrize(
    "text",
    [
        "f(  # noqa\n    a,\n    x[0] = 1,\n)\n",
        "f(\n    a,\n    # noqa\n    x[0] = 1,\n)\n",
        "f(\n    x[0] = 1,\n    a,\n)  # noqa\n",
        "y = a + \\\n    '''\n''' ; x[0] = 1  # noqa\n",
        "x[0] = 1 + '''\n\n'''  # noqa\n",
        "a = 1; x[0] = 1  # noqa\n",
        "if a: x[0] = 1  # noqa\n",
        "x[0] = 1  # noqa",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_any_line_of_the_statement_will_do(text: str, newline: str) -> None:
    assert covered(text.replace("\n", newline))


def test_a_finding_over_several_lines_is_silenced_on_any_of_them() -> None:
    text = "for i in r:\n    y = 1  # noqa\n    x[0] = 1\nz = 2  # gradfix: ignore[GF2]\n"
    end = text.index("z = 2")
    assert of(text).covers(CODE, NAME, Span(0, end))
    assert not of(text).covers("GF201", "other", Span(text.index("x[0]"), end))  # its newline isn't the next line


def test_the_whole_file_is_covered_from_anywhere_outside_strings() -> None:
    assert covered("x[0] = 1\n\n\ndef f():\n    pass  # gradfix: file-ignore[GF101]\n")
    assert not covered("x[0] = 1\n# gradfix: file-ignore[GF101]\n", code="GF102")


@given(
    st.lists(
        st.sampled_from(
            [
                "x = 1",
                "y = '# noqa é😀\f'",
                "",
                "f(a,\n  b)",
                '"""\n# noqa\n"""',
                "\fz = [\n# noqa\n]",
                "if a:\n\tb = 1",
            ]
        ).flatmap(lambda line: st.sampled_from([line, line + "  # é noqa # noqa", line + "# gradfix: ignore"])),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_comments_are_found_where_they_stand(lines: list[str], newline: str) -> None:
    text = "\n".join(lines).replace("\n", newline)
    source = Source.from_text("f.py", text)
    strings = [source.span_of(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    places = [at for word in ("# noqa", "# gradfix: ignore") for at in positions(text, word)]
    expected = sorted(at for at in places if not any(span.contains(at) for span in strings))
    comments = suppressions(source).comments
    assert [comment.span.start for comment in comments] == expected
    for comment in comments:
        assert comment.span.text(text) in ("# noqa", "# gradfix: ignore")
        assert comment.first_line <= source.position(comment.span.start).line <= comment.last_line


def positions(text: str, word: str) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(word, at)]


def test_a_text_that_is_no_python_keeps_the_comments_up_to_there() -> None:
    assert covered("x[0] = 1  # noqa\nf(  # noqa\n")
    assert covered("f(\n  x[0] = 1  # noqa\n")


def unused(text: str, *found: tuple[str, str, str]) -> list[tuple[str, tuple[str, ...]]]:
    places = [(code, name, Span(text.index(part), text.index(part) + 1)) for code, name, part in found]
    idle = of(text).unused(places, ["GF101", "GF102", "GF201"])
    return [(comment.span.text(text), entries) for comment, entries in idle]


def test_unused_comments_and_entries_are_named() -> None:
    text = (
        "a = 1  # gradfix: ignore\n"
        "b = 1  # gradfix: ignore[GF102, augmented-assignment, GF1]\n"
        "c = 1  # gradfix: ignore[GF101]\n"
        "d = 1  # gradfix: ignore[]\n"
        "e = 1  # gradfix: file-ignore[GF2]\n"
    )
    assert unused(text, (CODE, NAME, "b"), ("GF102", "inplace-method", "c")) == [
        ("# gradfix: ignore", ()),
        ("# gradfix: ignore[GF102, augmented-assignment, GF1]", ("GF102",)),
        ("# gradfix: ignore[GF101]", ("GF101",)),
        ("# gradfix: ignore[]", ()),
        ("# gradfix: file-ignore[GF2]", ("GF2",)),
    ]
    assert unused("a = 1  # gradfix: ignore\n", (CODE, NAME, "a")) == []
    assert unused("e = 1  # gradfix: file-ignore[GF2]\nb = 1\n", ("GF201", "x", "b")) == []


def test_of_a_noqa_only_our_own_entries_are_judged() -> None:
    text = "a = 1  # noqa\nb = 1  # noqa: E501\nc = 1  # noqa: E501, GF101, GF102\n"
    assert unused(text, ("GF102", "inplace-method", "c")) == [("# noqa: E501, GF101, GF102", ("GF101",))]


def test_no_comment_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenize.generate_tokens", lambda readline: pytest.fail("tokenised"))
    assert of("x = 1  # no, a question\n").comments == ()
