"""A number in every place of a tensor: `torch.full_like(y[0], v)`, by its own name where it is a 0 or a 1."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import Spelling
from gradfix.rewrite.text import names

_OWN_NAMES = {0.0: "zeros_like", 1.0: "ones_like"}


def spread(spelling: Spelling, place: str, number: ast.expr | None, text: str) -> str:
    """The number that `text` spells, in every place of `place`, with its dtype and device."""
    own = _own_name(number)
    if own is not None:
        return f"{names.torch_name(spelling, own)}({place})"
    return f"{names.torch_name(spelling, 'full_like')}({place}, {text})"


def _own_name(number: ast.expr | None) -> str | None:
    if not isinstance(number, ast.Constant) or type(number.value) not in (int, float):
        return None
    return _OWN_NAMES.get(number.value)  # type: ignore[arg-type]  # an int or a float
