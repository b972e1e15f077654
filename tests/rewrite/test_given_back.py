"""Tensors that are got back from containers and objects, by calls that are followed and by calls that aren't."""

from __future__ import annotations

import pytest
from programs import assert_cured

torch = pytest.importorskip("torch")

HEAD = "import torch\nx = torch.randn(3, requires_grad=True)\n"
END = "show(loss)\nloss.backward()\nprint(x.grad)\n"
ITEMS = "hs = [x.exp(), x.sigmoid()]\n"
FIELDS = "from collections import namedtuple\nPair = namedtuple('Pair', 'h n')\nh = x.exp()\np = Pair(h, 1)\n"
OBJECT = "class Box:\n    pass\n\n\nbox = Box()\nbox.h = x.exp()\n"

# What is made, what is written then, and what is read beside it.
GOT_BACK = {
    "sorted": (ITEMS + "order = sorted(hs, key=lambda t: t.sum().item())\n", "hs[0]", "order[0]"),
    "a dictionary of pairs": ("d = dict(zip('ab', [x.exp(), x.sigmoid()]))\na = d['a']\n", "a", "d['a']"),
    "the first of pairs": ("d = {'a': x.exp(), 'b': x.sin()}\nk = min(d.items())[1]\n", "d['a']", "k"),
    "lists put together": ("h = x.exp()\nk = sum([[h], [x.sin()]], [])\n", "h", "k[0]"),
    "chosen": ("import random\nhs = [x.exp()]\nk = random.choice(hs)\n", "hs[0]", "k"),
    "by the name of the method": ("hs = [x.exp()]\nk = hs.__getitem__(0)\n", "hs[0]", "k"),
    "in the place of others": ("h = x.exp()\nhs = [None, None]\nhs[:1] = [h]\n", "h", "hs[0]"),
    "a field kept": (FIELDS + "q = p._replace(n=2)\n", "h", "q.h"),
    "fields by their names": (FIELDS + "q = p._asdict()\n", "h", "q['h']"),
    "an unknown function of a list": (
        "from operator import itemgetter\nhs = [x.exp()]\nk = itemgetter(0)(hs)\n",
        "hs[0]",
        "k",
    ),
    "an unknown function of an object": (
        OBJECT + "from operator import attrgetter\nk = attrgetter('h')(box)\n",
        "box.h",
        "k",
    ),
    "an unknown object over a dictionary": (
        "from collections import ChainMap\nh = x.exp()\nk = ChainMap({'a': h}, {})\n",
        "h",
        "k['a']",
    ),
    "an object made of the fields of another": (
        "from types import SimpleNamespace\na = SimpleNamespace(h=x.exp())\nb = SimpleNamespace(**vars(a))\n",
        "a.h",
        "b.h",
    ),
    "a product": ("from itertools import product\nh = x.exp()\nk = [a for a, _ in product([h], [1])]\n", "h", "k[0]"),
    "a sum of one": ("h = x.exp()\nk = torch.einsum('i->i', h)\n", "h", "k"),
}


@pytest.mark.parametrize("name", GOT_BACK)
def test_what_is_got_back_has_the_write(name: str) -> None:
    made, written, read = GOT_BACK[name]
    loss = f"loss = ({written} ** 2).sum() + ({read} * 3).sum()\n"
    assert_cured(f"{HEAD}{made}{written} += 1\n{loss}{END}", "inplace operation", "x")


def test_what_nobody_gives_back_is_written_in_the_shortest_form() -> None:
    text = HEAD + ITEMS + "order = sorted(hs, key=len)\nhs[0] += 1\nloss = (hs[0] ** 2).sum()\n" + END
    assert "hs[0] = hs[0] + 1" in assert_cured(text, "inplace operation", "x").splitlines()
