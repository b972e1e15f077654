"""Multiple assignments whose values read what they write: `one_by_one` takes them apart, and each write is cured."""

from __future__ import annotations

from typing import Any

import pytest
from programs import assert_cured, fixed

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.findings import Severity
from gradfix.source import Source

torch = pytest.importorskip("torch")

HEAD = (
    "import torch\n\n\ndef both(a, b):\n    return torch.tanh(a * b), a.exp() + b\n\n\n"
    "x = torch.randn(3, 2, requires_grad=True)\nh = x.sigmoid()\nc = x.cos()\n"
)
END = "show(h, c)\n(h * h * c).sum().backward()\n"

PROGRAMS = {
    "two slots of one buffer": ("h[0], h[1] = both(h[1], h[2])\n", "h_value, h_value2 = both(h[1], h[2])"),
    "a name beside the write": ("h[0], c = both(h[1], h[2])\n", "h_value, c = both(h[1], h[2])"),
    "a name in the other index": ("i = 0\nh[i], i = both(h[1], h[2])[0], h[0].argmin()\n", "h_value, i_value = "),
    "an attribute": (
        "class S: pass\ns = S()\ns.h = h\ns.h[0], c[1] = both(s.h[1], c[0])\nh = s.h\n",
        "h_value, c_value = ",
    ),
    "a list of targets": ("[h[0], h[1]] = both(h[1], h[2])\n", "[h_value, h_value2] = both(h[1], h[2])"),
    "the name is taken": ("h_value = 2\nh[0], h[1] = both(h[1], h_value * h[2])\n", "h_value2, h_value3 = "),
    "all names are taken": (
        "h_value = h_value2 = h_value3 = 2\nh[0], h[1] = both(h[1], h_value * h[2])\n",
        "h_value3_2, h_value3_3 = ",
    ),
    "a name that finding the other place reads": (
        "i = 0\ndef place():\n    return i\nh[place()], i = both(h[1], h[2])[0], h[0].argmin() + 1\n",
        "h_value, i_value = ",
    ),
    "parts in reverse, which are copies": ("h[0], h[1], h[2] = reversed(h)\n", " = reversed(h)"),
    "a loop that carries two states": (
        "for t in range(1, 3):\n    h[t], c[t] = both(h[t - 1], c[t - 1])\n",
        "h_value, c_value = both(h_list[t - 1], c_list[t - 1])",
    ),
}


@pytest.mark.parametrize(("body", "made"), PROGRAMS.values(), ids=PROGRAMS)
def test_the_values_get_names_and_each_write_is_cured(body: str, made: str) -> None:
    text = HEAD + body + END
    assert made in fixed(text)
    in_another_order = body.startswith("for")  # the sums of backward, then
    assert_cured(text, "modified by an inplace operation", "x", by_differences=in_another_order)


def test_what_is_only_read_and_copied_needs_no_names() -> None:
    swap = "y = x.tanh()\nloss = y.sum()\ny[0], c[0] = c[1].clone(), y[1]\n"
    text = f"{HEAD}{swap}show(y, c)\n(y * h * c).sum().backward()\n"
    assert "y = y.clone()\ny[0], c[0] = c[1].clone(), y[1]\n" in fixed(text)
    assert_cured(text, "modified by an inplace operation", "x")


@pytest.mark.parametrize("targets", ["h[0], (h[1], h[2])", "h[0], *c", "d = h[0], h[1]"])
def test_what_is_nested_starred_or_chained_stays(targets: str) -> None:
    value = "both(h[1], h[2])" if "(" not in targets else "(h[0], both(h[1], h[2]))"
    text = f"{HEAD}{targets} = {value}\n{END}"
    assert f"{targets} = {value}\n" in fixed(text)


@pytest.mark.parametrize("value", ["h[1], h[0]", "h[1] * 2, h[0]", "h[1].view(2), h[0].clone()", "reversed(h[:2])"])
def test_of_a_clone_the_values_see_the_writes_that_they_would_have_seen(value: str) -> None:
    text = "import torch\nx = torch.randn(3, 2, requires_grad=True)\nh = x.sigmoid()\nh[0], h[1] = " + value + "\n"
    before, after = (run(program) for program in (text, clone_form(text)))
    assert torch.equal(before, after)


def clone_form(text: str) -> str:
    source = Source.from_text("program.py", text)
    policy = engine.Policy(severity=Severity.INFO, form="clone")
    return edits.apply(text, engine.fix(source, registry.builtin(), policy).edits)


def run(text: str) -> Any:
    torch.default_generator.manual_seed(0)
    names: dict[str, Any] = {}
    exec(text, names)
    return names["h"].detach()
