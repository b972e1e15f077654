"""The two files of templates: what is in them, and how their choices and holes are filled.

`<<this|that>>` is a choice; `{a}` a hole, whose letter says what fits; a line of `...` a body that is grown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random

HOLE = re.compile(r"\{([a-z]|[A-Z]|[niKL]\d)\}")
_CHOICE = re.compile(r"<<((?:(?!<<|>>).)*)>>")
_HEAD = re.compile(r"^== ", re.MULTILINE)
_HERE = Path(__file__).parent


@lru_cache(maxsize=1)
def operations() -> dict[str, list[str]]:
    """By section: expressions and simple statements."""
    text = (_HERE / "operations.txt").read_text(encoding="utf-8")
    sections = (section.partition("\n") for section in _HEAD.split(text)[1:])
    return {name: [one for one in re.split(r" \| |\n", rest) if one] for name, _, rest in sections}


@lru_cache(maxsize=1)
def blocks() -> dict[str, list[tuple[str, int]]]:
    """By section: statements, and how often each is taken beside the others."""
    text = (_HERE / "blocks.txt").read_text(encoding="utf-8")
    found: dict[str, list[tuple[str, int]]] = {}
    for block in _HEAD.split(text)[1:]:
        head, _, rest = block.partition("\n")
        name, weight = head.split()
        found.setdefault(name, []).append((rest.rstrip("\n"), int(weight)))
    return found


def choose(random: Random, section: str) -> str:
    """A block of the section."""
    texts, weights = zip(*blocks()[section], strict=True)
    return str(random.choices(texts, weights)[0])


def decide(random: Random, text: str) -> str:
    """The text with its choices made, the inner ones first; lines that come out empty are gone."""
    while _CHOICE.search(text):
        text = _CHOICE.sub(lambda choice: random.choice(choice[1].split("|")), text)
    return "\n".join(line for line in text.splitlines() if line.strip())


def fill(text: str, value: Callable[[str], str]) -> str:
    """The text with each hole filled, the same one alike wherever it stands."""
    values = {hole: value(hole) for hole in dict.fromkeys(HOLE.findall(text))}
    return HOLE.sub(lambda hole: values[hole[1]], text)


def indented(lines: list[str], by: str) -> list[str]:
    return [by + line for line in lines]
