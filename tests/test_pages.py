"""Pages: complete, parsable, and the tables made from them up to date."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from fakes import replacing

from gradfix import registry
from gradfix.codemod import HEADINGS, Codemod
from gradfix.findings import Applicability
from gradfix.report import pages

ROOT = Path(__file__).resolve().parent.parent
BUILTIN = registry.builtin()


@pytest.mark.parametrize("codemod", BUILTIN, ids=lambda codemod: codemod.name)
def test_a_page_has_every_heading_in_order_and_code_that_parses(codemod: Codemod) -> None:
    parts = pages.sections(codemod.page)
    assert [heading for heading in parts if heading] == list(HEADINGS)
    assert all(parts.values())
    assert len(codemod.summary) <= 100
    for heading in ("Example", "Leaves alone"):
        for block in pages.code_blocks(parts[heading]):
            ast.parse(block)
    advises = codemod.applicability is Applicability.DISPLAYONLY
    assert len(pages.code_blocks(parts["Example"])) >= 2 - advises, "an example and what to use instead"


@pytest.mark.parametrize("codemod", BUILTIN, ids=lambda codemod: codemod.name)
def test_codes_and_names_are_well_formed(codemod: Codemod) -> None:
    assert re.fullmatch(r"GF[1-5]\d\d", codemod.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", codemod.name)
    assert re.compile(codemod.symptom)
    assert codemod.needles


def test_the_changelog_names_every_codemod() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert [codemod.code for codemod in BUILTIN if codemod.code not in changelog] == []


def test_the_table_of_the_readme_is_current() -> None:
    readme = (ROOT / "README.md").read_text()
    assert pages.with_table(readme, BUILTIN) == readme, "run python scripts/write_tables.py"


def test_sections_and_code_blocks() -> None:
    page = "Sum.\n\n## One\ntext\n```python\nx = 1\n```\n\n## Two  \n```python\ny = 2\n```"
    parts = pages.sections(page)
    assert list(parts) == ["", "One", "Two"]
    assert parts[""] == "Sum."
    assert pages.code_blocks(parts["One"]) == ("x = 1\n",)
    assert pages.code_blocks(parts["Two"]) == ("y = 2\n",)


def test_a_page_as_text_and_as_json() -> None:
    codemod = replacing("x", "y")
    assert pages.as_text(codemod).startswith("# fake (GF901)\n\nFix: safe. Since gradfix 0.1.\n\nFake page.\n")
    (row,) = json.loads(pages.as_json([codemod]))
    assert (row["code"], row["summary"], row["applicability"]) == ("GF901", "Fake page.", "safe")


def test_an_old_table_is_replaced_and_the_text_around_it_kept() -> None:
    old = f"before\n{pages.TABLE_START}\n| old |\n{pages.TABLE_END}\nafter\n"
    new = pages.with_table(old, [replacing("x", "y")])
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "| GF901 | fake | Fake page. | safe |" in new
    assert pages.with_table(new, [replacing("x", "y")]) == new
