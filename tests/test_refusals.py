"""The reasons for leaving a finding unfixed are a closed list, which a page explains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradfix.findings import Refusal, RefusalKind

PAGE = Path(__file__).resolve().parent.parent / "docs" / "refusals.md"
ROWS = re.findall(r"^\| ([a-z-]+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_page_has_a_row_for_each_kind_in_order() -> None:
    assert [kind for kind, _, _ in ROWS if kind != "kind"] == [kind.value for kind in RefusalKind]


@pytest.mark.parametrize("kind", RefusalKind)
def test_each_kind_has_a_next_act_and_the_page_tells_it(kind: RefusalKind) -> None:
    told = next(act for name, _, act in ROWS if name == kind.value)
    assert Refusal(kind, "why").next_act == told


def test_advice_about_the_very_place_comes_first() -> None:
    assert Refusal(RefusalKind.HELD, "why", "do this").next_act == "do this"
