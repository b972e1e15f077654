"""Makes a program that shows something smaller while it still shows it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator


def shrink(text: str, shows: Callable[[str], bool]) -> str:
    """Delete statements, and unwrap compound ones, as long as `shows` holds. Programs that don't parse aren't tried."""
    lines = text.splitlines()
    while True:
        smaller = next((c for c in _candidates(lines) if _parses(c) and shows("\n".join(c) + "\n")), None)
        if smaller is None:
            return "\n".join(lines) + "\n"
        lines = smaller


def _candidates(lines: list[str]) -> Iterator[list[str]]:
    for start in reversed(range(len(lines))):
        end = _end(lines, start)
        yield lines[:start] + lines[end:]
        if end > start + 1:
            yield lines[:start] + [line[4:] for line in lines[start + 1 : end]] + lines[end:]
    for at, line in enumerate(lines):
        head, plus, _ = line.rpartition(" + ")
        if plus and head.lstrip().startswith("loss ="):
            yield lines[:at] + [head] + lines[at + 1 :]
            yield lines[:at] + [head[: head.index("=") + 2] + line.rpartition(" + ")[2]] + lines[at + 1 :]


def _end(lines: list[str], start: int) -> int:
    """The line after the block that `start` opens; the next line where it opens none."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
        end += 1
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return end


def _parses(lines: list[str]) -> bool:
    try:
        ast.parse("\n".join(lines))
    except SyntaxError:
        return False
    return True
