"""Chains of in-place calls: what a link takes is evaluated after the links before it have written."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed

pytest.importorskip("torch")

HEAD = "import torch\n\nx = torch.randn(4, 3, requires_grad=True)\nh = x.exp()\nrow = h[0]\nflat = h.view(12)\n"
END = "show(h, row)\n(h * h).sum().backward()\n"

LINK_BY_LINK = {
    "an index": (
        "h.mul_(0.3).add_(h[[2, 0, 3, 1]], alpha=0.7)\n",
        "h = h.mul(0.3)\nh = h.add(h[[2, 0, 3, 1]], alpha=0.7)",
    ),
    "itself": ("h = h.mul_(2).add_(h)\n", "h = h.mul(2)\nh = h.add(h)"),
    "three links": ("h.sub_(h.mean()).div_(h.amax()).mul_(2)\n", "h = h.sub(h.mean())\nh = h.div(h.amax())"),
    "assigned": ("z = h.mul_(2).add_(h)\n", "h = h.mul(2)\nz = h = h.add(h)\n"),
    "a property that reads it": (
        "class S:\n    @property\n    def top(self):\n        return self.h.amax()\n"
        "s = S()\ns.h = h\ns.h.mul_(2).div_(s.top)\nh = s.h\n",
        "s.h = s.h.mul(2)\ns.h = s.h.div(s.top)",
    ),
    "handed over": ("z = torch.relu(h.mul_(2).add_(h))\n", "h = h.mul(2)\n"),
}


@pytest.mark.parametrize(("body", "made"), LINK_BY_LINK.values(), ids=LINK_BY_LINK)
def test_links_that_read_what_was_written_get_statements(body: str, made: str) -> None:
    text = HEAD.replace("row = h[0]\nflat = h.view(12)\n", "") + body + END.replace(", row", "")
    assert made in assert_cured(text, "modified by an inplace operation", "x")


@pytest.mark.parametrize(
    "body",
    [
        "h.mul_(2).add_(flat.view(4, 3))\n",
        "h.mul_(2).add_(row.sum())\n",
        "row.mul_(2).add_(h.mean())\n",
        "row.mul_(2).add_(row.sum())\n",
        "h.mul_(flat.mean()).add_(1)\n",
        "h.mul_(2).add_(torch.relu(row)).sub_(flat.mean())\n",
    ],
)
def test_links_that_take_views_of_what_was_written(body: str) -> None:
    assert_cured(HEAD + body + END, "modified by an inplace operation", "x")


ONLY_BETWEEN = {"a view": "", "a bound method": "row = h.amax\n"}


@pytest.mark.parametrize("given", ONLY_BETWEEN.values(), ids=ONLY_BETWEEN)
def test_reads_between_the_links_alone_are_reads(given: str) -> None:
    value = "row()" if given else "row"
    text = f"{HEAD.replace('x.exp()', 'x * 2')}{given}h.mul_(2).div_({value})\n{END.replace(', row', '')}"
    assert fixed(text) == text


def test_a_default_keeps_the_tensor_that_the_links_write() -> None:
    body = "f = lambda v=h: v.amax()\nh.mul_(2).div_(f())\n"
    assert_cured(HEAD.replace("x.exp()", "x * 2") + body + END, "modified by an inplace operation", "x")
