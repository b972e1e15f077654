"""Calls written by hand, for what torch's own sample inputs leave out: argument kinds, aliases, and bare names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch

from interrogate.calls import Sample, seed

RECIPES = Path(__file__).with_name("recipes.txt")


def environment() -> dict[str, Any]:
    """Tensors and classes that recipes name. Deterministic: seeded here."""
    seed(20240)
    double = torch.float64
    positive = torch.rand(3, 4, dtype=double) + 0.1
    return {
        "torch": torch,
        "numpy": numpy,
        "f": torch.rand(3, 4) + 0.1,
        "x": positive,  # in (0.1, 1.1)
        "y": torch.rand(3, 4, dtype=double) + 0.2,
        "z": torch.randn(3, 4, dtype=double),
        "u": torch.rand(3, 4, dtype=double) * 0.8 + 0.1,  # in (0, 1)
        "row": torch.rand(4, dtype=double) + 0.1,
        "col": torch.rand(3, 1, dtype=double) + 0.1,
        "v": torch.rand(4, dtype=double),
        "w": torch.rand(4, dtype=double),
        "s": torch.rand((), dtype=double) + 0.5,
        "one": torch.rand(1, dtype=double),
        "sq": torch.rand(4, 4, dtype=double) + 2 * torch.eye(4, dtype=double),
        "a34": torch.rand(3, 4, dtype=double),
        "b45": torch.rand(4, 5, dtype=double),
        "c35": torch.rand(3, 5, dtype=double),
        "x3": torch.rand(2, 3, 4, dtype=double) + 0.1,
        "y3": torch.rand(2, 4, 5, dtype=double),
        "c3": torch.rand(2, 3, 5, dtype=double),
        "c34": torch.rand(2, 3, 4, dtype=double) + 0.1,
        "d34": torch.rand(2, 3, 4, dtype=double) + 0.1,
        "seq": torch.rand(2, 3, 8, dtype=double) + 0.1,
        "img": torch.rand(2, 3, 8, 8, dtype=double),
        "vol": torch.rand(2, 3, 6, 6, 6, dtype=double),
        "img4": torch.rand(2, 4, 6, 6, dtype=double),
        "m": torch.tensor([[True, False, True, False]] * 3),
        "mrow": torch.tensor([True, False, True]),
        "i": torch.tensor([0, 2, 1]),
        "i2": torch.tensor([0, 2]),
        "idx": torch.tensor([[0, 1, 2, 0], [1, 2, 0, 1], [2, 0, 1, 2]]),
        "labels": torch.tensor([0, 3, 1]),
        "sign": torch.tensor([1.0, -1.0, 1.0], dtype=double),
        "ints": torch.arange(12).reshape(3, 4) + 1,
        "icol": torch.arange(3).reshape(3, 1) + 1,
        "irow": torch.arange(4) + 1,
        "bits": torch.arange(12).reshape(3, 4) % 3 + 1,
        "complex": torch.randn(3, 4, dtype=torch.complex128),
        "pair": torch.rand(3, 4, 2, dtype=double),
        "anchor": torch.rand(3, 5, dtype=double),
        "near": torch.rand(3, 5, dtype=double),
        "far": torch.rand(3, 5, dtype=double),
    }


def read_recipes() -> dict[str, list[str]]:
    """Name -> calls, from `recipes.txt`."""
    found: dict[str, list[str]] = {}
    for line in RECIPES.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            names, _, calls = line.partition(": ")
            for name in names.split():
                found.setdefault(name, []).extend(calls.split(" | "))
    return found


def build(recipes: list[str]) -> list[Sample]:
    """The recipes as calls."""
    names = environment() | {"_": lambda *args, **kwargs: Sample(args, kwargs)}
    return [eval(f"_({recipe})", names) for recipe in recipes]
