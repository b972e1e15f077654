"""Joins what single calls showed into one row of the table, split by the kind of an argument where that settles it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interrogate import dtypes
from interrogate.probe import Observation, Output

Row = dict[str, Any]

MOST_SPLITS = 2
SHAPES = ("scalar", "same", "broadcast")


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
    best: tuple[float, str, dict[str, Row]] | None = None
    for parameter in sorted({name for one in seen for name in one.kinds}):
        groups = _groups(seen, parameter)
        if len(groups) < 2:
            continue
        cases = {kind: _split(group, depth - 1) for kind, group in groups.items()}
        cost = sum(_remaining(case) for case in cases.values()) / len(cases) + 0.1 * len(cases)
        if cost < doubt and (best is None or cost < best[0]):
            best = cost, parameter, cases
    if best is None:
        return row
    return row | {"on": best[1], "cases": dict(sorted(best[2].items()))}


def _groups(seen: Sequence[Seen], parameter: str) -> dict[str, list[Seen]]:
    groups: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        groups[one.kinds.get(parameter, "none")].append(one)
    return groups


def _remaining(row: Row) -> float:
    if "cases" not in row:
        return doubts(row)
    cases = [_remaining(case) for case in row["cases"].values()]
    return sum(cases) / len(cases) + 0.1 * len(cases)


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
        "silent": sorted(set().union(*(one.silent for one in shown))),
        "error": next((one.backward_error for one in shown if one.backward_error), ""),
        "multi": any(one.multi_view for one in shown),
        "doubtful": any(one.conjunction for one in shown),
    }
    return {key: value for key, value in row.items() if value}


def doubts(row: Row) -> float:
    """How many entries of a row are not definite."""
    count = float(row.get("kind") == "mixed")
    count += sum(condition.count("?") for condition in row.get("saves", {}).values())
    for output in row.get("outputs", []):
        count += output.get("saved", "").count("?")
        count += sum(output.get(key) == "mixed" for key in ("gradient", "shape"))
        count += 0.5 * (output.get("view") == "maybe") + 0.5 * (output.get("dtype") == "other")
    return count


def _one(values: set[str], otherwise: str) -> str:
    return next(iter(values)) if len(values) == 1 else otherwise


def _condition(pairs: Iterable[tuple[frozenset[str], frozenset[str]]], every: set[str]) -> str:
    """From (causes, tracked parameters) of each call: "*", "a b", with "?" behind a cause that holds at times only."""
    votes: dict[str, set[bool]] = defaultdict(set)
    for causes, tracked in pairs:
        for name in tracked:
            votes[name].add(name in causes)
    if votes and votes.keys() == every and all(vote == {True} for vote in votes.values()):
        return "*"
    return " ".join(name + ("?" if False in vote else "") for name, vote in sorted(votes.items()) if True in vote)


def _saves(shown: Sequence[Observation]) -> dict[str, str]:
    every = set().union(*(one.differentiable for one in shown))
    names = dict.fromkeys(name for one in shown for name in one.causes)
    found = {}
    for name in names:
        holding = [one for one in shown if name in one.causes]
        pairs = [(one.causes[name], one.differentiable) for one in holding]
        condition = _condition(pairs, set().union(*(one.differentiable for one in holding)))
        found[name] = condition if condition != "*" or every else ""
    return {name: condition for name, condition in found.items() if condition}


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
    every = set().union(*tracked)
    entry = {
        "saved": _condition([(out.causes, names) for out, names in zip(outputs, tracked, strict=True)], every),
        "gradient": _gradient(outputs, tracked),
        "view": _view(outputs),
        "of": " ".join(sorted({out.alias_of for out in outputs if out.alias_of})),
        "shape": _shape(outputs),
        "dtype": dtypes.rule([case[at] for one, at in chosen for case in one.dtypes if at < len(case)]),
    }
    if indices is None:
        entry["many"] = "yes"
    return {key: value for key, value in entry.items() if value}


def _gradient(outputs: Sequence[Output], tracked: Sequence[frozenset[str]]) -> str:
    """ "yes" is left out; "zero" only when every call's gradient is zero."""
    values = {out.gradient for out, names in zip(outputs, tracked, strict=True) if names}
    if not values:
        return "no"
    if "no" in values:
        return "no" if values == {"no"} else "mixed"
    return "zero" if values == {"zero"} else ""


def _view(outputs: Sequence[Output]) -> str:
    found = {out.alias for out in outputs} | {out.strided_alias for out in outputs}
    if found == {"same"}:
        return "same"
    if "" not in found:
        return "view"
    return "maybe" if found != {""} else ""


def _shape(outputs: Sequence[Output]) -> str:
    telling = [out.shape for out in outputs if out.rank]
    if not telling:
        return ""
    agreed = frozenset.intersection(*telling)
    for shape in SHAPES:
        if shape in agreed:
            return shape
    return "mixed" if any(telling) else ""
