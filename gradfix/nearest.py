"""What a mistyped word probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that begins with `word`, or one at most a third of its letters away; None when none is that near."""
    plain = word.lower().replace("_", "-") or "?"
    ranked = [(not choice.lower().startswith(plain), distance(plain, choice.lower()), choice) for choice in choices]
    if not ranked:
        return None
    begins_otherwise, away, best = min(ranked, key=lambda rank: rank[:2])
    return best if not begins_otherwise or away <= max(1, len(best) // 3) else None


def distance(a: str, b: str) -> int:
    """How many letters must be put in, taken out or changed to make one of the other."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]
