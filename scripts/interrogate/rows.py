"""Joins what single calls showed into one row of the table, split by the kind of an argument where that settles it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interrogate import dtypes
from interrogate.probe import ACROSS, Observation, Output

Row = dict[str, Any]

MOST_SPLITS = 3  # nested
MOST_TRIED = 4  # of the parameters whose split looks best at once


@dataclass(frozen=True, slots=True)
class Seen:
    """One call: kinds of its arguments by parameter, what it showed, and the dtypes of its outputs."""

    kinds: Mapping[str, str]
    shown: Observation
    dtypes: Sequence[Sequence[dtypes.Case]]


def build(seen: Sequence[Seen]) -> Row:
    """The joined row; with `on` and `cases` when the kind of one parameter (then of another) makes it definite."""
    return _pruned(_split(seen, MOST_SPLITS))


def _split(seen: Sequence[Seen], depth: int) -> Row:
    row = join(seen)
    doubt = doubts(row)
    if not doubt or not depth:
        return row
    splits = [
        (parameter, _groups(seen, parameter)) for parameter in sorted({name for one in seen for name in one.kinds})
    ]
    promising = sorted((one for one in splits if len(one[1]) > 1), key=lambda one: _cost(map(join, one[1].values())))
    best, cost = row, doubt
    for parameter, groups in promising[:MOST_TRIED]:
        cases = {kind: _split(group, depth - 1) for kind, group in sorted(groups.items())}
        if _cost(cases.values()) < cost:
            best, cost = row | {"on": parameter, "cases": cases}, _cost(cases.values())
    return best


def _cost(cases: Iterable[Row]) -> float:
    """Doubts that remain in a case, on average; each case counts a little itself."""
    remaining = [_cost(case["cases"].values()) if "cases" in case else doubts(case) for case in cases]
    return sum(remaining) / len(remaining) + 0.1 * len(remaining)


def _groups(seen: Sequence[Seen], parameter: str) -> dict[str, list[Seen]]:
    groups: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        groups[one.kinds.get(parameter, "none")].append(one)
    return groups


def _pruned(row: Row) -> Row:
    """Cases keep only what they say otherwise than their row; None: the row's entry does not hold there."""
    if "cases" not in row:
        return row
    return row | {"cases": {kind: _difference(_pruned(case), row) for kind, case in row["cases"].items()}}


def _difference(case: Row, row: Row) -> Row:
    changed = {key: value for key, value in case.items() if row.get(key) != value}
    return changed | {key: None for key in row if key not in case and key not in ("on", "cases")}


def join(seen: Sequence[Seen]) -> Row:
    """One row for all calls: agreement stays, disagreement becomes "maybe"."""
    shown = [one.shown for one in seen]
    row: Row = {
        "kind": _one({one.result for one in shown}, "mixed"),
        "saves": _saves(shown),
        "outputs": _outputs(seen),
        "tracked": sorted(set().union(*(one.differentiable for one in shown))),
        "mutates": sorted(set().union(*(one.mutated for one in shown))),
        "escaping": sorted(_escaping(shown)),
        "silent": sorted(set().union(*(one.silent for one in shown))),
        "multi": any(one.multi_view for one in shown),
        "doubtful": any(one.conjunction for one in shown),
    }
    return {key: value for key, value in row.items() if value}


def doubts(row: Row) -> float:
    """How many entries of a row are not definite."""
    count: float = 1.0 if row.get("kind") == "mixed" else 0.0
    count += sum(condition.count("?") for condition in row.get("saves", {}).values())
    for output in row.get("outputs", []):
        count += output.get("saved", "").count("?")
        count += sum(1.0 for key in ("gradient", "shape") if output.get(key) == "mixed")
        count += sum(0.5 for key, doubt in (("view", "maybe"), ("dtype", "other")) if output.get(key) == doubt)
    return count


def _one(values: set[str], otherwise: str) -> str:
    return next(iter(values)) if len(values) == 1 else otherwise


def _condition(pairs: Iterable[tuple[frozenset[str], frozenset[str]]]) -> str:
    """From (causes, tracked parameters) of each call: "*" for any tracked parameter, or the causes by name.

    Behind a name: "?" it held in some calls only, "~" another element of that list.
    """
    votes: dict[str, set[str]] = defaultdict(set)
    for causes, tracked in pairs:
        for name in tracked:
            votes[name].add("yes" if name in causes else "across" if name + ACROSS in causes else "no")
    if votes and all(vote == {"yes"} for vote in votes.values()):
        return "*"
    marks = {name: "" if vote == {"yes"} else ACROSS if vote == {"across"} else "?" for name, vote in votes.items()}
    return " ".join(name + marks[name] for name in sorted(votes) if votes[name] != {"no"})


def _saves(shown: Sequence[Observation]) -> dict[str, str]:
    names = dict.fromkeys(name for one in shown for name in one.causes)
    found = {name: _condition(_votes(name, one) for one in telling(name, shown)) for name in names}
    return {name: condition for name, condition in found.items() if condition}


def telling(name: str, shown: Sequence[Observation]) -> list[Observation]:
    """The calls with this argument; without the uneven ones where only in those a copy is saved in its place."""
    given = [one for one in shown if name in one.causes]
    even = [one for one in given if not one.uneven]
    return even if _always_saved(name, even) and not _always_saved(name, given) else given


def _always_saved(name: str, shown: Sequence[Observation]) -> bool:
    return (
        bool(shown)
        and "?" not in _condition(_votes(name, one) for one in shown)
        and all(one.causes[name] for one in shown)
    )


def _escaping(shown: Sequence[Observation]) -> set[str]:
    """Arguments of which a copy may be saved in their place."""
    names = set().union(*(one.causes for one in shown))
    uneven = {name for name in names if len(telling(name, shown)) < sum(name in one.causes for one in shown)}
    return uneven.union(*(one.escaping for one in shown))


def _votes(name: str, shown: Observation) -> tuple[frozenset[str], frozenset[str]]:
    """A list of one element says nothing about whether an element is saved for the gradient of another."""
    causes = shown.causes[name]
    mute = {name} if name in shown.alone and name not in causes else set()
    return causes, shown.differentiable - mute


def _outputs(seen: Sequence[Seen]) -> list[dict[str, str]]:
    """One entry an output when their number is fixed, else one entry for all."""
    counts = {len(one.shown.outputs) for one in seen}
    if len(counts) == 1 and next(iter(counts)) <= 4:
        return [_output(seen, [index]) for index in range(next(iter(counts)))]
    return [_output(seen, None)] if counts != {0} else []


def _output(seen: Sequence[Seen], indices: list[int] | None) -> dict[str, str]:
    chosen = [(one, at) for one in seen for at in (indices or range(len(one.shown.outputs)))]
    outputs = [one.shown.outputs[at] for one, at in chosen]
    tracked = [one.shown.differentiable for one, _ in chosen]
    entry = {
        "saved": _condition((out.causes, names) for out, names in zip(outputs, tracked, strict=True)),
        "gradient": _gradient([one.shown.outputs[at] for one, at in chosen if one.shown.floating]),
        "view": _view(alias for out in outputs for alias in (out.alias, out.strided_alias)),
        "dense": _view(out.alias for out in outputs),
        "of": " ".join(sorted({out.alias_of for out in outputs if out.alias_of})),
        "shape": _shape(outputs),
        "dtype": dtypes.rule([case[at] for one, at in chosen for case in one.dtypes if at < len(case)]),
    }
    if entry["dense"] == entry["view"]:
        del entry["dense"]
    if indices is None:
        entry["many"] = "yes"
    return {key: value for key, value in entry.items() if value}


def _gradient(outputs: Sequence[Output]) -> str:
    """ "yes" is left out; "zero" only when it is zero in every call."""
    values = {out.gradient for out in outputs}
    if values == {"yes"} or values == {"yes", "zero"}:
        return ""
    return values.pop() if len(values) == 1 else "mixed" if values else "no"


def _view(aliases: Iterable[str]) -> str:
    """ "self" and "view" hold for every call, "maybe" for some; "" new storage."""
    found = set(aliases) - {"?"}
    if found == {"same"}:
        return "self"
    if found and "" not in found:
        return "view"
    return "maybe" if found - {""} else ""


def _shape(outputs: Sequence[Output]) -> str:
    telling = [out for out in outputs if out.rank]
    if not telling:
        return ""
    agreed = frozenset.intersection(*(out.shape for out in telling))
    if "scalar" in agreed:
        return "scalar"
    if agreed and all(out.uniform for out in telling):
        return ""  # of equal shapes it can't be told which one a result has
    for shape in ("same", "broadcast"):
        if shape in agreed:
            return shape
    return "mixed" if any(out.shape for out in telling) else ""
