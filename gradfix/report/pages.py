"""The page of a codemod, in every shape it is shown: its docstring is the only text there is.

A page is Markdown: a first line that sums it up, then sections under the headings of `gradfix.codemod.HEADINGS`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from gradfix.codemod import Codemod

_HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TABLE_START = "<!-- codemods: made by scripts/write_tables.py -->"
TABLE_END = "<!-- end of codemods -->"


def sections(page: str) -> dict[str, str]:
    """The text under each `## heading`, stripped; what stands before the first is under the empty heading."""
    parts = _HEADING.split(page)
    return {heading: text.strip() for heading, text in zip(["", *parts[1::2]], parts[0::2], strict=True)}


def code_blocks(text: str) -> tuple[str, ...]:
    """The Python code blocks of a piece of a page, in order."""
    return tuple(_CODE.findall(text + "\n"))


def as_text(codemod: Codemod) -> str:
    """The whole page as `gradfix rule` prints it: Markdown, ending in a newline."""
    head = f"# {codemod.name} ({codemod.code})\n\nFix: {codemod.applicability.value}. Since gradfix {codemod.since}."
    return f"{head}\n\n{codemod.page.strip()}\n"


def as_json(codemods: Iterable[Codemod]) -> str:
    """A JSON list with one object a codemod."""
    rows = [
        {
            "code": codemod.code,
            "name": codemod.name,
            "summary": codemod.summary,
            "since": codemod.since,
            "applicability": codemod.applicability.value,
            "symptom": codemod.symptom,
            "explanation": codemod.page.strip(),
        }
        for codemod in codemods
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def table(codemods: Iterable[Codemod]) -> str:
    """The Markdown table of the README, between its two marks."""
    ordered = sorted(codemods, key=lambda codemod: codemod.code)
    rows = [f"| {c.code} | {c.name} | {c.summary} | {c.applicability.value} |" for c in ordered]
    return "\n".join([TABLE_START, "| code | name | what it finds | fix |", "|---|---|---|---|", *rows, TABLE_END])


def with_table(text: str, codemods: Iterable[Codemod]) -> str:
    """`text` with the table between the marks brought up to date. Raises `ValueError` when the marks are missing."""
    start, end = text.index(TABLE_START), text.index(TABLE_END) + len(TABLE_END)
    return text[:start] + table(codemods) + text[end:]
