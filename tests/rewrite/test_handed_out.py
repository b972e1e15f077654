"""Views that a function hands out share memory after a fix, too: what is written to the one is seen in the other."""

from __future__ import annotations

import pytest
from programs import assert_cured

torch = pytest.importorskip("torch")

HANDED = {  # how the views are taken, what the function returns, what the caller writes to, and reads
    "two parts": ("first, rest = h[:1], h[1:]", "(first, rest)", "got[0]._base[1:]", "got[1]"),
    "the base and a part": ("first = h[:1]", "(first, h)", "got[1]", "got[0]"),
    "a part and the base, in a dictionary": ("first = h[:1]", "{0: h, 1: first}", "got[0]", "got[1]"),
    "a part and a view of the base": ("first = h[:1]", "[first, h.view(3)]", "got[1]", "got[0]"),
    "kept in an object": ("first = h[:1]\n    kept.first = first", "(h, kept.first)", "got[0]", "kept.first"),
}


@pytest.mark.parametrize("form", ["first *= 2", "first.mul_(2)", "first[0] = 2 * first[0]"])
@pytest.mark.parametrize("name", HANDED)
def test_views_that_are_handed_out_share_memory(name: str, form: str) -> None:
    taken, returned, written, read = HANDED[name]
    text = (
        "import torch\nimport types\nx = torch.rand(3, requires_grad=True)\nkept = types.SimpleNamespace()\n\n\n"
        f"def f(x):\n    h = x * 2\n    {taken}\n    e = h.sin().sum()\n    {form}\n    return {returned}, e\n\n\n"
        f"got, e = f(x)\nshow(e, got[0], got[1])\nloss = e + got[0].sum()\nloss.backward()\n"
        f"with torch.no_grad():\n    {written}.add_(7)\nshow({read})\n"
    )
    assert_cured(text, "modified by an inplace operation", "x")


def test_a_part_that_only_the_function_computes_with_is_not_taken_again() -> None:
    text = (
        "import torch\nx = torch.rand(3, requires_grad=True)\n\n\ndef f(x):\n    h = x * 2\n    first = h[:1]\n"
        "    e = h.sin().sum()\n    first *= 2\n    return h, e + first.sum()\n\n\nh, loss = f(x)\nshow(loss, h)\n"
        "loss.backward()\n"
    )
    made = assert_cured(text, "modified by an inplace operation", "x")
    assert "    first = h[:1]\n" in made.partition("sin()")[0]
    assert "    first = h[:1]\n" not in made.partition("sin()")[2]
