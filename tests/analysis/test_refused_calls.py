"""Calls that Python refuses when they run are analysed like any other text."""

from __future__ import annotations

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.source import Source

REFUSED = (
    "sum()",
    "len()",
    "itertools.islice([h, h])",
    "itertools.islice([h, h], 0, 2, 0)",
    "itertools.islice([h, h], 0, 1, 1, 1)",
    "[h].insert()",
    "{'a': h}.update()",
    "h.view(-1, -1)",
    "functools.reduce()",
    "copy.copy()",
)


@pytest.mark.parametrize("call", REFUSED)
def test_the_write_beside_it_is_found(call: str) -> None:
    text = f"import copy, functools, itertools\n\n\ndef f(x):\n    h = x.exp()\n    {call}\n    h[0] = 1\n"
    assert len(analyse(Source.from_text("refused.py", text)).writes) == 1
