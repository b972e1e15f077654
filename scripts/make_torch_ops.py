"""Writes gradfix/data/torch_ops-<major.minor>.json by interrogating the installed torch.

Needs torch and the package `expecttest` (torch.testing's sample inputs import it). `python scripts/make_torch_ops.py`
writes the table; with names (`torch.exp Tensor.mul`) it prints their rows and writes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from interrogate import dtypes, factories, inplace, modules, recipes, rows, samples, signatures, symbols
from interrogate.probe import observe

DATA = Path(__file__).resolve().parent.parent / "gradfix" / "data"


def main(names: Collection[str]) -> None:
    """Measure and write the table; or print the rows of `names`."""
    torch.set_num_threads(1)
    table = dict(operator_rows(names))
    if not names:
        table |= dict(symbol_rows()) | dict(factories.rows()) | dict(modules.rows(modules.torch_samples()))
    lines = [f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in sorted(table.items())]
    if names:
        print("\n".join(lines))
        return
    version = torch.__version__.partition("+")[0]
    target = DATA / f"torch_ops-{'.'.join(version.split('.')[:2])}.json"
    text = ",\n".join([f'"torch": "{version}"', *lines])
    target.write_text("{\n" + text + "\n}\n", encoding="utf-8")


def operator_rows(names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Rows of functions and methods by user-facing name; a method that equals its function is a reference to it."""
    own, handwritten = samples.torch_samples(), recipes.read_recipes()
    measured: dict[str, Any] = {}
    unknown = []
    for name, function in samples.spellings():
        if names and name not in names:
            continue
        row = measure(name, function, samples.samples_for(name, own, handwritten))
        if name.endswith("_"):
            yield f"inplace {name}", inplace.row(name, function, samples.samples_for(name, own, handwritten))
        if row is None:
            unknown.append(name)
        else:
            measured[name] = row
    for name, row in measured.items():
        twin = "torch." + name.rpartition(".")[2]
        same = name.startswith("Tensor.") and twin in measured and renamed(row) == renamed(measured[twin])
        yield name, twin if same else row
    yield "unknown", sorted(unknown)


def symbol_rows() -> Iterator[tuple[str, Any]]:
    """Rows of Python's operators and of tensor attributes."""
    for name, parameters, function, calls in symbols.spellings():
        seen = []
        for sample in calls:
            shown = observe(function, sample, parameters[: len(sample.args)])
            if shown is not None:
                kinds = dict(zip(parameters, map(samples.kind, sample.args), strict=False))
                seen.append(rows.Seen(kinds, shown, list(dtypes.cases(function, sample))))
        if seen:
            yield name, {"parameters": list(parameters)} | rows.build(seen)


def renamed(row: Any) -> Any:
    """The row with the receiver called `input`, as torch's functions call it."""
    words = {"self": "input", "self?": "input?"}
    if isinstance(row, dict):
        return {words.get(key, key): renamed(value) for key, value in row.items()}
    if isinstance(row, list):
        renamed_items = [renamed(item) for item in row]
        return sorted(renamed_items) if all(isinstance(item, str) for item in renamed_items) else renamed_items
    if isinstance(row, str) and ("self" in row):
        return " ".join(sorted(words.get(word, word) for word in row.split()))
    return row


def measure(name: str, function: Callable[..., Any], calls: list[samples.Sample]) -> rows.Row | None:
    """The row of one operator, or None when no call of it worked."""
    overloads = signatures.signatures(name, function)
    seen = []
    for sample in calls:
        bound = signatures.bind(overloads, sample.args, sample.kwargs)
        if bound.values.get("inplace") is True:
            continue
        shown = observe(function, sample, bound.positional)
        if shown is not None:
            kinds = {parameter: samples.kind(value) for parameter, value in bound.values.items()}
            seen.append(rows.Seen(kinds, shown, list(dtypes.cases(function, sample))))
    if not seen:
        return None
    parameters = list(dict.fromkeys(parameter.name for overload in overloads for parameter in overload))
    return {"parameters": parameters} | rows.build(seen)


if __name__ == "__main__":
    main(sys.argv[1:])
