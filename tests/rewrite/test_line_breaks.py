"""Rewritten lines stay within the length the file keeps, broken as the formatter of this project breaks them."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from gradfix import edits, registry
from gradfix.edits import Edit
from gradfix.engine import engine
from gradfix.findings import Applicability
from gradfix.rewrite.text.line_breaks import broken
from gradfix.source import Source, Span

LONG = (
    "boxes_of_the_image = torch.select_scatter(boxes_of_the_image, boxes_of_the_image[0] * 0.5, 0, 0)",
    "y = (y_of_the_image / (boxes_of_the_image + another_of_the_things) * 3).to(y_of_the_image.dtype)",
    "y = y_of_the_image / (boxes_of_the_image + another_of_the_things) * 3 + y_of_the_image_at_last * 4",
    "y = y_of_the_image_that_is_long / boxes_of_the_image_that_is_long_long_long_long_long_long_longg",
    "y = torch.select_scatter(y, torch.where((x[0] > 0.5).reshape(()), x[0] * 2, y[0]), 0, 0)  # why not",
    "y = torch.select_scatter(y_of_the_image, torch.where((x_of_the_image[0] > 0.5).reshape(()), "
    "x_of_the_image[0] * 2, y_of_the_image[0]), 0, 0)",
    "y = torch.slice_scatter(y_of_the_image, x_of_the_image.view(-1), dim=number_of_the_dimension, start=1, *others)",
    "return torch.select_scatter(y_of_the_image_that_is_long, 0, 0, some_function_call(x_of_the_image_that_is))",
    "y_list.append((2 * y_list[t - 1] - y_list[t - 2] + dt**2 * (force[t] - y_list[t - 1].sin())).to(y).reshape(()))",
    "out = torch.stack([torch.exp(scale_of_it * x_of_it[i]).to(out).reshape(()) for i in range(3000)], dim=0)",
    "self.hidden_states_of_this = self.hidden_states_of_this * torch.sigmoid(self.gate_of_this(inputs))",
    "out_list[i] = (decay_of_the_thing * out_list[i - 1] + inputs_of_the_thing[i]).to(out).reshape(())",
    "probabilities = probabilities_of_all.masked_fill(~legal_moves_of_the_player_of_the_game, 0.0)",
    "größe_der_kästen = torch.select_scatter(größe_der_kästen, größe_der_kästen[0] * 0.5, 0, 0) ",
    "K = torch.stack([torch.stack([fx, torch.tensor(0.0), torch.tensor(width / 2)]), "
    "torch.stack([torch.tensor(0.0), fy, torch.tensor(height / 2)])])",
    "parts = [first_half_of_the_values.exp(), second_half_of_the_values.sigmoid(), third_half_of_them]",
    "out = torch.cat([first_half_of_the_values.exp(), second_half_of_the_values.sigmoid(), third_one], dim=1)",
    "force = torch.select_scatter(force, torch.where(below_zero, -torch.where(below_zero, stiffness, 1.0) "
    "* torch.where(below_zero, height, 1.0), force[2]), 0, 2)",
    "loss = cross_entropy_of(logits[valid_ones], labels[valid_ones]) if valid_ones.any() else zero + logits[:0].sum()",
    "return pred_of_it[mask].mean() if mask_of_it.any() else zero + pred_of_it.flatten()[:0].sum().to(zero.dtype)",
    "head, tail = torch.where(mask_of_the_pair, first_half_of_the_values, second_half_of_the_values)",
)


def formatted(text: str) -> str:
    """What the formatter makes of it."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def put_in(line: str, around: str = "def f():\n    pass\n    return 1\n") -> str:
    """`line` in the place of `pass`."""
    source = Source.from_text("f.py", around)
    at = around.index("pass")
    return edits.apply(around, broken(source, (Edit(Span(at, at + 4), line),)))


def test_they_are_broken_as_the_formatter_breaks_them() -> None:
    parts = [put_in(line.rstrip()) for line in LONG]
    assert all(max(map(len, part.splitlines())) <= 88 for part in parts)
    whole = "\n\n".join(parts)
    assert formatted(whole) == whole


def test_what_fits_stays_on_its_line() -> None:
    line = "y = torch.select_scatter(y_of_the_image_that_is_long, x_of_the_image_that_is_lo, 0, 0)"
    assert len("    " + line) > 88
    wide = "def f():\n    pass\n    return " + ", ".join(["torch.ones(1)"] * 6) + "\n"
    assert "    " + line + "\n" in put_in(line, wide)
    assert "    " + line + "\n" not in put_in(line)
    assert "    " + line[:-6] + ")\n" in put_in(line[:-6] + ")")


def test_a_line_behind_a_block_is_broken_like_any_other() -> None:
    around = "def f():\n    if a:\n        if b:\n            y = 1\n"
    edit = Edit(Span(len(around) - 1, len(around) - 1), f"\n    {LONG[0]}")
    made = edits.apply(around, broken(Source.from_text("f.py", around), (edit,)))
    assert formatted(made) == made
    assert max(map(len, made.splitlines())) <= 88


@pytest.mark.parametrize(
    "line", ["if a: " + LONG[0], LONG[0] + "; y = 2", "y = '" + "x" * 90 + "'", "y = (", "pass  #" + "x" * 90]
)
def test_what_isnt_one_simple_statement_is_left_alone(line: str) -> None:
    assert line in put_in(line)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("y = torch.where(", ")"),
        ("if any(", "):\n    y = 1"),
        ("@decorated(", ")\ndef g(): ..."),
        ("y[", "] = 1"),
        ("def g(b=(", ")):\n    y = 1"),
    ],
)
def test_a_line_inside_brackets_is_no_statement(opening: str, closing: str) -> None:
    """It reads as a tuple there, which brackets of its own would make one argument of."""
    around = f"{opening}\n    pass\n{closing}\n"
    line = "(first_of_the_names / second_of_the_names) > 0, other_of_the_names.relu(), (third_of_the_names / 2)"
    assert put_in(line, around) == around.replace("pass", line)
    assert put_in(line) != "def f():\n    pass\n    return 1\n".replace("pass", line)


def test_code_stays_the_same() -> None:
    for line in (
        "y = first_of_the_two * second_of_the_two * (function_of_it(w_of_it_all)) * another_one_of_them",
        *LONG,
    ):
        plain = "def f():\n    pass\n    return 1\n".replace("pass", line)
        assert ast.dump(ast.parse(put_in(line))) == ast.dump(ast.parse(plain))


def test_newlines_and_tabs_are_those_of_the_file() -> None:
    made = put_in(LONG[0], "def f():\r\n\tpass\r\n\treturn 1\r\n")
    assert "(\r\n\t\tboxes_of_the_image, boxes_of_the_image[0] * 0.5, 0, 0\r\n\t)\r\n" in made


def test_fixes_are_broken() -> None:
    text = (
        "import torch\n\n\ndef f(x):\n    boxes_of_the_whole_image = x.sigmoid()\n"
        "    boxes_of_the_whole_image[0] *= offset_of_the_first_box_in_the_image\n    return boxes_of_the_whole_image\n"
    )
    assert formatted(text) == text
    result = engine.fix(
        Source.from_text("f.py", text), registry.builtin(), engine.Policy(applicability=Applicability.UNSAFE)
    )
    made = edits.apply(text, result.edits)
    assert "    boxes_of_the_whole_image = torch.select_scatter(\n" in made
    assert formatted(made) == made
