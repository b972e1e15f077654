"""Loops that fill a buffer, made at random: what GF202 and GF203 write is equal in values, dtype, shape, random numbers
and gradients. The original's gradients come from a run in which every saved tensor is cloned.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from filled import compare, compared, fixed, valid

from gradfix import registry
from gradfix.engine import engine
from gradfix.engine.policy import Policy
from gradfix.findings import Applicability, Severity
from gradfix.source import Source

BUFFERS = ("GF202", "GF203")
SHAPES = {
    "single": "{n}",
    "rows": "{n}, 3",
    "columns": "2, {n}",
    "last": "2, {n}",
    "table": "{n}, 3",
    "pages": "2, {n}, 3",
}
PLACES = {
    "single": ("h[{t}]",),
    "rows": ("h[{t}]", "h[{t}, :]", "h[{t}, ...]"),
    "columns": ("h[:, {t}]",),
    "last": ("h[..., {t}]",),
    "table": ("h[{t}, {j}]", "h[{t}][{j}]"),
    "pages": ("h[:, {t}, {j}]",),
}
ITEMS = {  # of the arguments x (4, 3) and v (2, 3), fit for a slot: of its shape, narrower, with a leading 1
    "single": ("x[{t}, 0]", "x[{t}].sum()"),
    "rows": ("x[{t}]", "x[{t}, 0]", "x[{t}:{t} + 1]"),
    "columns": ("v[:, 0] * x[{t}, 0]", "x[{t}, 1]"),
    "last": ("v[:, 1]", "v[:, 0] * x[{t}, 0]"),
    "table": ("x[{t}, 0]", "x[{t}, {j}]"),
    "pages": ("v[:, 0] * x[{t}, 1]",),
}
FACTORIES = (
    "torch.zeros({})",
    "torch.ones(({},))",
    "x.new_zeros({})",
    "torch.full(({},), 0.3)",
    "torch.zeros({}, dtype=torch.float64)",
)
LOOPS = {
    "up": ("for t in range({n}):", "for t in range(1, {n}):", "for t, row in enumerate(x):"),
    "down": ("for t in reversed(range({n})):", "for t in range({n} - 1, -1, -1):"),
}
VALUES = (  # {p}: a slot; {x}: an item of the arguments
    (
        "{p} * w",
        "torch.tanh({p}) + {x}",
        "{p}.exp() * 0.3",
        "{p} * {p}",
        "w * ({p} + {x})",
        "-{p} * 2 + 1",
        "{p} * {x}.mean()",
    )
    + ("{x}.exp()", "{x} * w", "0.5", "w", "{x}", "float(t)", "({p} * w).double()", "{p}", "torch.rand(()) * {p} * w")
    + ("h.sum() * w", "(h[:t] * h[:t]).sum() * {x}", "({x}\n            * w)", "len(h) * w", "{p} if t > 1 else {x}")
)


class Program:
    """One random program."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._kind = self._pick(tuple(SHAPES))
        self._place = self._pick(PLACES[self._kind])
        self.dtype = self._pick(("float32", "float32", "float64"))
        self._ranked = random.Random(~seed).random() < 0.5  # whether it shows how many dimensions its arguments have

    def _pick(self, options: Sequence[str]) -> str:
        return self._chance.choice(options)

    def _slot(self, t: str, j: str = "j") -> str:
        return self._place.format(t=t, j=j)

    def _value(self) -> str:
        read = self._slot(self._pick(("t - 1", "t - 1", "t", "0", "-1")), self._pick(("j", "j - 1")))
        return (
            self._pick(VALUES).replace("{p}", read).replace("{x}", self._pick(ITEMS[self._kind]).format(t="t", j="j"))
        )

    def _write(self) -> str:
        operator = self._chance.choices(("=", "+=", "*="), (8, 1, 1))[0]
        write = f"{self._slot('t')} {operator} {self._value()}"
        if self._kind == "rows" and self._chance.random() < 0.15:
            write = f"h[t, {self._pick(('0', '1:', '-1'))}] {operator} h[t - 1, 0] * w"
        return self._pick(("", "", "", "if t % 2: ")) + write + self._pick(("", "", "  # kept", "; c = w * 2"))

    def text(self) -> str:
        """The source of `f(x, w, v)`."""
        n = self._pick(("4", "x.shape[0]", "len(x)"))
        lines = ["rows, _ = x.shape", "_, width = v.size()", "w = w.reshape(())"] if self._ranked else []
        lines.append(f"h = {self._pick(FACTORIES).format(SHAPES[self._kind].format(n=n))}")
        if self._chance.random() < 0.3:
            lines.append(f"{self._slot('0', '0')} = w")
        body = [self._write() for _ in range(self._chance.choice((1, 1, 2)))]
        if "{j}" in self._place:
            body = ["for j in range(3):", *("    " + line for line in body)]
        if self._chance.random() < 0.25:
            loop = ["t = 0", f"while t < {n}:", *("    " + line for line in body), "    t += 1"]
        else:
            loop = [self._pick(LOOPS[self._pick(("up", "up", "down"))]).format(n=n), *("    " + line for line in body)]
        if self._chance.random() < 0.3:
            again = [
                "total = 0",
                "for _ in range(2):",
                *("    " + line for line in loop),
                "    total = total + (h * h).sum()",
            ]
            lines += [*again, "h = h * total"]
        else:
            lines += loop
        lines.append(self._pick(("return h", "return h * h", "return h[-1]", "return h.sum()")))
        return "import torch\n\n\ndef f(x, w, v):\n" + "\n".join("    " + line for line in lines) + "\n"


def test_values_of_no_more_dimensions_than_a_slot_are_spread_over_it() -> None:
    texts = [fixed(text, engine.Policy())[0] for text, _ in valid(Program, range(120))]
    assert sum("expand_as" in text for text in texts) >= 4


@pytest.mark.parametrize("start", range(0, 160, 20))
@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.INFO], ids=lambda severity: severity.value)
def test_lists_of_slots_are_equal_to_the_buffer(start: int, severity: Severity) -> None:
    assert compared(valid(Program, range(start, start + 20)), engine.Policy(severity=severity), *BUFFERS)


def test_the_clone_form_is_equal_too() -> None:
    changed = 0
    for text, dtype in valid(Program, range(40)):
        after, codes = fixed(text, engine.Policy(form=engine.CLONE))
        changed += ".clone()" in after and not codes.isdisjoint(BUFFERS)
        if codes:
            compare(text, after, dtype)
    assert changed


@pytest.mark.parametrize(("value", "kept"), [("0.5", False), ("v[0] * t", True)])
def test_a_buffer_all_of_whose_slots_get_numbers_keeps_its_graph(value: str, *, kept: bool) -> None:
    text = f"""import torch

v = torch.rand(2, 3, requires_grad=True)
h = v.sum(1).exp()
for t in range(2):
    h[t] = {value.replace("v[0]", "v[0, 0]")}
h.sum().backward()
"""
    after, codes = fixed(text, engine.Policy())
    assert not codes.isdisjoint(BUFFERS)
    assert ("torch.stack" in after) is kept
    names: dict[str, Any] = {}
    exec(compile(after, "program.py", "exec"), names)
    assert names["v"].grad is not None


@pytest.mark.parametrize("branch", ["if x[0] < 0.3:\n        out = out + x", "out = out + x"])
def test_numbers_in_every_slot_of_what_may_have_a_graph_are_left_unless_asked(branch: str) -> None:
    """In place the buffer keeps its graph, with gradients of zero; a stack of numbers has none, and backward raises."""
    text = (
        "import torch\n\n\ndef f(x: torch.Tensor):\n    out = torch.zeros(4)\n    " + branch + "\n"
        "    for k in range(4):\n        out[k] = 3\n    return out.var()\n"
    )
    codemods = [codemod for codemod in registry.builtin() if codemod.name == "loop-filled-buffer"]
    source = Source.from_text("f.py", text)
    assert not engine.fix(source, codemods, Policy(Severity.INFO)).applied
    asked = Policy(Severity.INFO, Applicability.UNSAFE)
    assert engine.fix(source, codemods, asked).applied


LOOP = "    for t in range(1, 6):\n        h[t] = w * h[t - 1].sin() + x[t]\n"
MADE = {  # the lines before the loop, and whether the buffer is a list from the beginning; under its own name
    "by itself": ("    h = torch.zeros(6)\n", "    h = list(torch.zeros(6))\n"),
    "with something between": (
        "    h = torch.zeros(6)\n    w = w * 2\n",
        "    h = list(torch.zeros(6))\n    w = w * 2\n",
    ),
    "written before": (
        "    h = torch.zeros(6)\n    h[0] = 1.0\n",
        "    h = list(torch.zeros(6))\n    h[0] = torch.ones_like(h[0])\n",
    ),
    "written with what may be a number": ("    h = torch.zeros(6)\n    h[0] = w\n", "    h[0] = w\n    h = list(h)\n"),
    "written in a branch": (
        "    h = torch.zeros(6)\n    if w > 0:\n        h[0] = 1.0\n",
        "        h[0] = 1.0\n    h = list(h)\n",
    ),
    "read before": (
        "    h = torch.zeros(6)\n    h[0] = w.exp()\n    h[1] = h[0].sin()\n",
        "    h = list(torch.zeros(6))\n    h[0] = w.exp().to(h[0]).reshape(())\n    h[1] = h[0].sin()",
    ),
    "read as a whole before": ("    h = torch.zeros(6)\n    h[0] = 1.0\n    w = w + h.sum()\n", "    h = list(h)\n"),
    "known by another name": ("    h = torch.zeros(6)\n    g = h\n", None),
    "of a size not known": ("    h = torch.zeros(len(x))\n", "    h_list = list(h.unbind(0))\n"),
    "made in a branch": (
        "    h = torch.zeros(6)\n    if w > 0:\n        h = torch.ones(6)\n",
        "    h_list = list(h.unbind(0))\n",
    ),
    "given": ("    h = x.exp()\n", None),
}


@pytest.mark.parametrize("name", MADE)
def test_a_buffer_that_only_the_loop_uses_is_a_list_from_the_beginning(name: str) -> None:
    before, after = MADE[name]
    text = f"import torch\n\n\ndef f(x, w):\n{before}{LOOP}    return h\n"
    made, codes = fixed(text, engine.Policy(severity=Severity.INFO))
    assert ("list(torch.zeros(6))" in made) is (after is not None and "list(torch.zeros(6))" in after)
    if after is not None:
        assert codes == {"GF203"}
        assert after in made
        assert "    return torch.stack(h" in made


def test_with_type_hints_the_list_has_a_name_of_its_own() -> None:
    text = f"import torch\n\n\ndef f(x: torch.Tensor, w):\n    h = torch.zeros(6)\n{LOOP}    return h.sum()\n"
    made, _ = fixed(text, engine.Policy())
    assert "    h_list = list(torch.zeros(6))\n" in made
    assert "    return torch.stack(h_list).sum()\n" in made


def test_an_index_with_an_effect_is_evaluated_once() -> None:
    text = (
        "import torch\n\n\ndef f(x, w, indices):\n    h = torch.zeros(6)\n    for row in x:\n"
        "        h[indices.pop()] = w * h[0].sin() + row\n    return h\n"
    )
    made, _ = fixed(text, engine.Policy(severity=Severity.INFO))
    assert made.count("indices.pop()") == 1


PARTS = {  # of a slot, written by a subscript behind the one that names it
    "added to": "h[t] = v[0] * h[t - 1]\n        h[t][1] += x[t, 1]",
    "assigned": "h[t] = v[0] * h[t - 1]\n        h[t][1] = x[t, 1]",
    "a slice": "h[t] = v[0] * h[t - 1]\n        h[t][1:][0] = x[t, 1]",
    "in all writes": "h[t][1:] = v[0, 1:] * h[t - 1][1:]",
}


@pytest.mark.parametrize("name", PARTS)
def test_a_write_to_a_part_of_a_slot_is_none_to_the_slot(name: str) -> None:
    head = "import torch\n\n\ndef f(x, w, v):\n    h = torch.ones(4, 3)\n    for t in range(1, 4):\n        "
    text = f"{head}{PARTS[name]}\n    return h\n"
    made, codes = fixed(text, engine.Policy())
    assert codes
    compare(text, made, "float32")


@pytest.mark.parametrize("part", ["h[t][:2] = x[t, :2]", "h[t][0] = v[0, 0] * t"])
def test_a_part_of_a_slot_is_no_slot_where_each_round_writes_one(part: str) -> None:
    text = f"import torch\n\n\ndef f(x, w, v):\n    h = torch.zeros(4, 3)\n    for t in range(4):\n        {part}\n"
    made, _ = fixed(text + "    return h\n", engine.Policy(severity=Severity.INFO))
    compare(text + "    return h\n", made, "float32")


CALLED = (
    "import torch\n\n\ndef f(x, w, n):\n    h = torch.zeros(n)\n" + LOOP.replace("6", "n") + "    return h.sum()\n\n\n"
)
CALLED += "x = torch.rand(6, requires_grad=True)\nf(x, x[0], 6).backward()\n"


def test_the_sizes_of_all_calls_tell_whether_there_are_slots() -> None:
    made, _ = fixed(CALLED, engine.Policy())
    assert "    h = list(torch.zeros(n))\n" in made
    assert "    return torch.stack(h).sum()\n" in made
    made, _ = fixed(CALLED + "print(f(x, x[0], 0))\n", engine.Policy())
    assert "    h = torch.stack(h_list) if h_list else h\n    return h.sum()\n" in made


BEHIND = {  # what stands behind the loop, before and after
    "returned": ("return h", "return torch.stack(h)"),
    "used in what is returned": ("return (h * w).sum()", "return (torch.stack(h) * w).sum()"),
    "used twice": ("return h * h", "h = torch.stack(h)\n    return h * h"),
    "used behind what may write": ("return (print(), h)[1]", "h = torch.stack(h)\n    return (print(), h)[1]"),
    "used later": ("return lambda: h", None),
    "used in a comprehension": ("return [h for _ in x]", "h = torch.stack(h)\n    return [h for _ in x]"),
    "not used": ("return w", "return w"),
    "used below": ("w = w * 2\n    return h", "h = torch.stack(h)\n    w = w * 2\n    return h"),
}


@pytest.mark.parametrize("name", BEHIND)
def test_the_stack_stands_where_it_is_used(name: str) -> None:
    before, after = BEHIND[name]
    head = f"import torch\n\n\ndef f(x, w):\n    h = torch.zeros(6)\n{LOOP}"
    made, _ = fixed(f"{head}    {before}\n", engine.Policy(severity=Severity.INFO))
    if after is None:
        assert "h = list(" not in made
    else:
        assert made == f"{head}    {after}\n".replace("torch.zeros(6)", "list(torch.zeros(6))").replace(
            "w * h[t - 1].sin() + x[t]", "(w * h[t - 1].sin() + x[t]).to(h[t]).reshape(())"
        )


def test_a_buffer_that_the_next_round_reads_is_stacked() -> None:
    text = "import torch\n\n\ndef f(x, w):\n    for k in range(2):\n        if k:\n            w = w + h.sum()\n"
    text += "        h = torch.zeros(6)\n" + "".join(f"    {line}\n" for line in LOOP.splitlines()) + "    return w\n"
    made, _ = fixed(text, engine.Policy(severity=Severity.INFO))
    assert "        h = torch.stack(h)\n    return w\n" in made
