"""Which names of a module surely write to no argument, end no graph, start no backward: told from its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_DEFINITION = re.compile(r"\n(?:(?:async[ \t]+def|def|class)[ \t]+(\w+)|@)")  # begins with a letter: fast to find
_WRITE = re.compile(r"\w_\(|[-+*/%@&|^]=|\]\s*(?:,[^=\n]*)?=(?!=)|inplace|\bout\s*=|[(,]\s*True\b")
# What ends a graph though it is hardly meant to.
_CUT = re.compile(r"\.(?:item|tolist|numpy)\(|\.data\b|\bfloat\(|[tT]ensor\(|\b(?:from_numpy|Variable|Parameter)\(")
_SWITCH = re.compile(r"\b(?:no_grad|inference_mode|set_grad_enabled|enable_grad)\b")
_BUILD = re.compile(r"\b[A-Z]\w*[a-z]\w*\(|\]\(")  # what is named like a class is called, or an item of a registry
_ASKED = re.compile(r"\]\(")  # an item of a registry is called
_IN_PLACE = re.compile(r"inplace|[(,]\s*True\b")
_ASK = re.compile(r"requires_grad")
_LEARN = re.compile(r"requires_grad|\bParameter\(")
# What starts a backward, or steps an optimizer.
_TRAIN = re.compile(r"\b(?:backward|grad)\(|\.(?:step|zero_grad)\(")
_HOOK = re.compile(r"register_\w*hook\(")
_CALLED = re.compile(r"(\w+)[ \t]*\(")


class Spellings:
    """The definitions at the top of a text, and which of them spell a write, or a cut, or call one of those that do."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._blocks: dict[str, list[tuple[int, int]]] = {}
        self._known: dict[tuple[str, re.Pattern[str]], bool] = {}
        self._calls: dict[str, set[str]] = {}
        found = [(match.start(), match[1]) for match in _DEFINITION.finditer(f"\n{text}")]
        ends = [*(start for start, _ in found[1:]), len(text)]
        for (start, name), end in zip(found, ends, strict=False):
            if name:
                self._blocks.setdefault(name, []).append((start, end))

    def may_write(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it writes; of other names nothing is known."""
        return self._may(_WRITE, name)

    def may_sever(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it ends a graph; of other names nothing is known."""
        return self._may(_CUT, name)

    def may_switch(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it switches gradients; of other names nothing is known."""
        return self._may(_SWITCH, name)

    def may_train(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it starts a backward or steps; of other names nothing is
        known."""
        return self._may(_TRAIN, name)

    def may_hook(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it registers a hook; of other names nothing is known."""
        return self._may(_HOOK, name)

    def may_ask(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it asks to require grad; else nothing is known."""
        return self._may(_ASK, name)

    def may_build(self, name: str) -> bool:
        """False where the text defines `name` and nothing in it makes an object; of other names nothing is known."""
        return self._may(_BUILD, name)

    def may_learn(self) -> bool:
        """False where the text makes no parameters but those of modules."""
        return _LEARN.search(self._text) is not None

    def may_make_writers(self, name: str) -> bool:
        """False where nothing in the text of `name`, or where it asks a registry in the whole text, works in place."""
        asks = self._may(_ASKED, name)
        return self._may(_IN_PLACE, name) or (asks and _IN_PLACE.search(self._text) is not None)

    def _may(self, spelling: re.Pattern[str], name: str) -> bool:
        def spells(one: str) -> bool:
            return any(spelling.search(self._text, start, end) for start, end in self._blocks[one])

        key = name, spelling
        if key not in self._known:
            self._known[key] = name not in self._blocks or leads(name, spells, self._called)
        return self._known[key]

    def _called(self, name: str) -> set[str]:
        if name not in self._calls:
            spans = self._blocks[name]
            called = {match[1] for start, end in spans for match in _CALLED.finditer(self._text, start, end)}
            self._calls[name] = called & self._blocks.keys()
        return self._calls[name]


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
