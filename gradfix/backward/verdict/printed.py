"""Compares what two runs have written, line by line: numbers agree up to rounding, addresses are left out."""

from __future__ import annotations

import math
import re

from gradfix.backward.protocol import Run

_GRAD_FN = re.compile(r",?\s*grad_fn=<[^>]*>")
_TRACKED = " (tracked)"
_RUN = re.compile(r"(?:[A-Za-z]:)?[/\\][^\s'\"]{0,200}?gradfix-\w+[/\\]+run-\d+(?:[/\\]+\d+)?")
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")


def same_print(before: str, after: str, *, prefix: bool) -> str | None:
    """None when both printed the same, else the first lines that differ.

    Names of graph nodes and addresses are left out of account, numbers are compared to 1 in 1000. The second may show a
    graph node where the first has none, not the other way round. With `prefix`, it may have gone on.
    """
    one, other = _normal(before), _normal(after)
    if prefix:
        other = other[: len(one)]
    for a, b in zip(one, other, strict=False):
        if (
            a != b
            and a != b.replace(_TRACKED, "")
            and not _same_line(a, b if _TRACKED in a else b.replace(_TRACKED, ""))
        ):
            return f"printed {a[:80]!r} before, {b[:80]!r} after"
    if len(one) != len(other):
        return f"printed {len(one)} lines before, {len(other)} after"
    return None


def anywhere(text: str) -> str:
    """A text without the directory of the run that it came from."""
    return _RUN.sub("", text) if "gradfix-" in text else text


def _normal(text: str) -> list[str]:
    return _ADDRESS.sub("0x", _GRAD_FN.sub(_TRACKED, anywhere(text))).splitlines()


def _same_line(one: str, other: str) -> bool:
    if re.sub(r"\s+", " ", _NUMBER.sub("#", one)) != re.sub(r"\s+", " ", _NUMBER.sub("#", other)):
        return False
    numbers = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=False)
    return all(math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=1e-6) for a, b in numbers)


_TRACE = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*")
_PLACE = re.compile(r"^(\S.*):\d+: (\w*Warning: )", re.MULTILINE)
# A warning, the other lines of its message up to the quoted line, and that line; where none is quoted, its first line.
_WARNING = re.compile(
    r"^((\S.*): \w*Warning: .*\n(?:(?:(?! {2}|\S.*Warning: ).*\n){0,6}(?= {2}))?)( {2}.*\n)?", re.MULTILINE
)
_OURS = re.compile(r"[/\\\\]torch[/\\\\]")


def complaints(run: Run) -> str | None:
    """What a run that came to its end wrote to its standard error, without places in the text and warnings of torch.

    Those depend on how torch is asked: a rewrite asks otherwise, and so do the cures of an oracle. They are told at the
    line that calls torch, which doesn't speak of warnings.
    """
    if run.ended is None or run.ended.error is not None or run.killed is not None:
        return None
    text = _PLACE.sub(r"\1: \2", _TRACE.sub("Traceback\n", run.errors))
    return _WARNING.sub(_kept, text)


def _kept(warning: re.Match[str]) -> str:
    message, place, line = warning.groups()
    own = line is not None and "warn" in line and not _OURS.search(place)
    return message if own else ""
