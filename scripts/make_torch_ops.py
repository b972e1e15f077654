"""Writes gradfix/data/torch_ops-<major.minor>.json by interrogating the installed torch: for the release `BASE` every
row, for another one those that differ from it.

Needs torch, NumPy and the package `expecttest` (torch.testing's sample inputs import it). It takes a few minutes.
`python scripts/make_torch_ops.py` writes the table; with names (`torch.exp Tensor.mul "+ tensor number" "module ReLU"`)
it measures and prints those rows and writes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from interrogate import dtypes, factories, inplace, modules, recipes, rows, samples, signatures, symbols
from interrogate.calls import Sample, kind
from interrogate.probe import observe

DATA = Path(__file__).resolve().parent.parent / "gradfix" / "data"
BASE = "2.13"  # made first, when it is made anew

Rows = Iterator[tuple[str, Any]]


def main(names: Collection[str]) -> None:
    """Measure and write the table; or print the rows of `names`."""
    if names:
        for name, row in sorted(measure(names).items()):
            print(line(name, row))
        return
    version = torch.__version__.partition("+")[0]
    minor = ".".join(version.split(".")[:2])
    made = dict(sorted(measure().items()))
    if minor != BASE:
        base = json.loads((DATA / f"torch_ops-{BASE}.json").read_text(encoding="utf-8"))
        made = differences(base, made)
    entries = [line(name, row) for name, row in ({"torch": version} | made).items()]
    (DATA / f"torch_ops-{minor}.json").write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")


def differences(base: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """What a table has else than the base, as `gradfix.torch_tables` reads it."""
    absent = sorted(name for name in base.keys() - made.keys() if name != "torch")
    own = {name: row for name, row in made.items() if name not in base or base[name] != row}
    return {"base": BASE, "absent": absent} | own


def line(name: str, row: Any) -> str:
    """One entry of the file."""
    return f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}"


def measure(names: Collection[str] = ()) -> dict[str, Any]:
    """Rows by name: of everything, or of `names` alone (then without the list of what could not be measured)."""
    torch.set_num_threads(1)
    operators, unknown = operator_rows(names)
    table = with_references(operators) if not names else operators
    sections: list[Rows] = [symbol_rows(names), inplace_rows(names), factories.rows()]
    if not names or any(name.startswith("module ") for name in names):
        sections.append(modules.rows(modules.torch_samples()))
    table |= {name: row for section in sections for name, row in section if not names or name in names}
    return table if names else table | {"unknown": unknown}


def operator_rows(names: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Rows of functions and methods, those with `inplace=True` under a name of their own; names that no call ran."""
    own, handwritten = samples.torch_samples(), recipes.read_recipes()
    measured: dict[str, Any] = {}
    unknown = []
    for name, function in samples.spellings():
        if names and name not in names and f"{name} inplace" not in names:
            continue
        overloads = signatures.signatures(name, function)
        calls = samples.samples_for(name, own, handwritten)
        for writes in (False, True):
            chosen = [call for call in calls if (bound_kinds(overloads, call).get("inplace") == "true") is writes]
            row = operator_row(function, chosen, overloads)
            if row is not None:
                measured[f"{name} inplace" if writes else name] = row
            elif not writes:
                unknown.append(name)
    return measured, sorted(unknown)


def bound_kinds(overloads: signatures.Overloads, call: Sample) -> dict[str, str]:
    """Kinds of a call's arguments by parameter, defaults included."""
    return {name: kind(value) for name, value in signatures.bind(overloads, call.args, call.kwargs).values.items()}


def operator_row(
    function: Callable[..., Any], calls: Sequence[Sample], overloads: signatures.Overloads
) -> rows.Row | None:
    """The row of one operator, or None when no call of it worked."""
    seen = []
    for call in calls:
        shown = observe(function, call, signatures.bind(overloads, call.args, call.kwargs).positional)
        if shown is not None:
            seen.append(rows.Seen(bound_kinds(overloads, call), shown, list(dtypes.cases(function, call))))
    return {"overloads": signatures.described(overloads)} | rows.build(seen) if seen else None


def symbol_rows(names: Collection[str]) -> Rows:
    """Rows of Python's operators, of indexing and of tensor attributes."""
    for name, parameters, function, calls in symbols.spellings():
        overloads = [tuple(signatures.Parameter(word, "any", None, False, True) for word in parameters)]
        if not names or name in names:
            row = operator_row(function, calls, overloads)
            if row is not None:
                yield name, row


def inplace_rows(names: Collection[str]) -> Rows:
    """`inplace Tensor.exp_` -> its twin."""
    own, handwritten = samples.torch_samples(), recipes.read_recipes()
    for name, function in samples.spellings():
        if name.endswith("_") and (not names or f"inplace {name}" in names):
            yield f"inplace {name}", inplace.row(name, function, samples.samples_for(name, own, handwritten))


def with_references(table: Mapping[str, Any]) -> dict[str, Any]:
    """Methods that equal the function of the same name become its name: `"Tensor.exp": "torch.exp"`."""
    found = {}
    for name, row in table.items():
        twin = "torch." + name.rpartition(".")[2]
        same = name.startswith("Tensor.") and twin in table and renamed(row) == renamed(table[twin])
        found[name] = twin if same else row
    return found


def renamed(value: Any) -> Any:
    """The row with the receiver called `input`, as torch's functions call it, and order put aside."""
    if isinstance(value, dict):
        return {"input" if key == "self" else key: renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(map(renamed, value), key=str)
    return " ".join(sorted(receiver(word) for word in value.split())) if isinstance(value, str) else value


def receiver(word: str) -> str:
    """`self`, `self?`, `self:T` with the name functions use."""
    return "input" + word[4:] if word[:4] == "self" and word[4:5] in ("", "?", "~", ":") else word


if __name__ == "__main__":
    main(sys.argv[1:])
