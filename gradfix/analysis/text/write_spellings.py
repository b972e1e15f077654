"""Which names of a module surely write to no argument, told from its text before anything is parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_DEFINITION = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)|^@", re.MULTILINE)
_WRITE = re.compile(r"\w_\(|[-+*/%@&|^]=|\]\s*(?:,[^=\n]*)?=(?!=)|inplace|\bout\s*=|[(,]\s*True\b")
_CALLED = re.compile(r"(\w+)[ \t]*\(")


class WriteSpellings:
    """The definitions at the top of a text, and which of them spell a write or call one of those that do."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._blocks: dict[str, list[tuple[int, int]]] = {}
        self._known: dict[str, bool] = {}
        found = list(_DEFINITION.finditer(text))
        ends = [*(match.start() for match in found[1:]), len(text)]
        for match, end in zip(found, ends, strict=False):
            if match[1]:
                self._blocks.setdefault(match[1], []).append((match.start(), end))

    def may_write(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it writes; of other names nothing is known."""
        if name not in self._known:
            self._known[name] = name not in self._blocks or leads(name, self._spells_one, self._called)
        return self._known[name]

    def _spells_one(self, name: str) -> bool:
        return any(_WRITE.search(self._text, start, end) for start, end in self._blocks[name])

    def _called(self, name: str) -> set[str]:
        spans = self._blocks[name]
        called = {match[1] for start, end in spans for match in _CALLED.finditer(self._text, start, end)}
        return called & self._blocks.keys()


def leads(name: str, writes: Callable[[str], bool], called: Callable[[str], Iterable[str]]) -> bool:
    """Whether `name`, or one of those it leads to by what is `called`, is one that `writes`."""
    todo, seen = [name], {name}
    while todo:
        at = todo.pop()
        if writes(at):
            return True
        found = [other for other in called(at) if other not in seen]
        seen.update(found)
        todo += found
    return False
