"""What fits into a hole of a template, at a point of the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch

from . import reachable, templates

Fits = Callable[[torch.Tensor], bool]
STEMS = "x y z h u q s t feat out hid act pred a b c e g k p acc buf total cur state emb mid base tmp".split()
WRAPPED = ["torch.tanh({})", "({}) * 2", "({}).exp()", "({}) + 1", "F.relu({})", "({}).sigmoid()", "({}) ** 2"]
TABLES = {"unary": 10, "binary": 12, "product": 6, "reduction": 12, "mixture": 4, "view": 10, "writing value": 2, "": 4}


class Missing(Exception):
    """Nothing fits into a hole."""


@dataclass(slots=True)
class Scope:
    """A body that is grown: what its statements can read, and which names they may bind."""

    space: dict[str, Any]
    known: frozenset[str]  # imported names, and those of enclosing bodies: these are only read
    depth: int = 0

    def owns(self, path: str) -> bool:
        """Whether a statement may write it: a name of its own, or a place that is reached through one."""
        return path not in self.known

    def names(self) -> list[str]:
        return [name for name in self.space if not name.startswith("__") and name not in self.known]


@dataclass(slots=True)
class Operands:
    """Fills holes from one source of chance; no name is given twice."""

    random: Random
    imported: frozenset[str]
    width: int = 3
    leaves: list[str] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    count: int = 0

    def filled(self, text: str, scope: Scope) -> str:
        """A template with choices made and holes filled; raises `Missing`."""
        like: list[torch.Tensor] = []
        return templates.fill(templates.decide(self.random, text), lambda hole: self._value(hole, scope, like))

    def expression(self, scope: Scope) -> str:
        """Something to compute."""
        table = self.random.choices(list(TABLES), list(TABLES.values()))[0]
        text = self.filled(self._one_of(table), scope) if table else self._call(scope)
        roll = self.random.random()
        if roll < 0.12:
            return self.random.choice(WRAPPED).format(text)
        if roll < 0.15:
            return f"{text} if {self._condition(scope)} else {self.filled(self._one_of('unary'), scope)}"
        return f"({self.fresh()} := {text}) * 2" if roll < 0.17 else text

    def fresh(self) -> str:
        self.count += 1
        if not self.stems:
            self.stems = self.random.sample(STEMS, len(STEMS))
        stem = self.stems.pop()
        return stem if self.count <= len(STEMS) else f"{stem}{self.count}"

    # -- by the hole's letter -------------------------------------------------------------------------------

    def _value(self, hole: str, scope: Scope, like: list[torch.Tensor]) -> str:
        kind = hole[0]
        if kind in "nfiKL" and len(hole) == 2:
            return self._named(kind)
        if kind in FITS:
            return self._pick(scope, FITS[kind])[0]
        if kind in "abcoxyElg":
            path, tensor = self._tensor(kind, scope, like)
            like.append(tensor)
            return path
        if kind == "m":
            of = self._pick(scope, lambda t: t.shape == like[0].shape)[0] if like else self._pick(scope)[0]
            return self.random.choice([f"{of} > 0", f"{of}.abs() < 0.8", f"torch.rand_like({of}) > 0.5"])
        made = {"u": self.expression, "k": self._condition, "t": self._target, "q": self._write, "z": self._unpacked}
        if kind in made:
            return made[kind](scope)
        return self._constant(kind)

    def _named(self, kind: str) -> str:
        name = self.fresh()
        if kind == "L":
            self.leaves.append(f"net_{name}")
            return f"net_{name}"
        return {"K": f"Kind{name.title()}", "i": f"i_{name}"}.get(kind, name)

    def _constant(self, kind: str) -> str:
        """A number or a layer; what isn't known here stays, as the result of a body that isn't grown yet."""
        if kind == "L":
            return self._one_of("layer").replace("{W}", str(self.width))
        every = {"s": "0 1.0 0.5 2 -1.0", "d": "0 -1 1", "i": "0 1 -1", "h": "1 2 3", "W": str(self.width)}
        return self.random.choice(every.get(kind, f"{{{kind}}}").split())

    def _tensor(self, kind: str, scope: Scope, like: list[torch.Tensor]) -> tuple[str, torch.Tensor]:
        shape = like[0].shape if like else None
        if kind in "xy":
            return self._written(scope)
        if kind == "E":
            return self._pick(scope, lambda t: t.shape[-1] == self.width and t.dtype == torch.float32)
        if kind in "lg":
            return self._pick(scope, lambda t: t.requires_grad and (kind == "g" or reachable.is_leaf(t)))
        if shape is not None and (kind == "o" or self.random.random() < 0.8):
            return self._pick(scope, lambda t: t.shape == shape)
        return self._pick(scope)

    def _pick(self, scope: Scope, fits: Fits = lambda _: True) -> tuple[str, torch.Tensor]:
        """A tensor, likelier a new one."""
        return self._newest([found for found in reachable.tensors(self._read(scope)) if fits(found[1])])

    def _written(self, scope: Scope) -> tuple[str, torch.Tensor]:
        found = [one for one in reachable.tensors(self._read(scope)) if scope.owns(one[0])]
        computed = [one for one in found if not (one[1].requires_grad and reachable.is_leaf(one[1]))]
        return self._newest(computed if computed and self.random.random() < 0.93 else found)

    def _newest(self, found: list[tuple[str, torch.Tensor]]) -> tuple[str, torch.Tensor]:
        if not found:
            raise Missing
        if self.random.random() < 0.25:
            return self.random.choice(found)
        return found[-1 - min(int(self.random.expovariate(0.25)), len(found) - 1)]

    def result(self, scope: Scope) -> str:
        """What a function may give back: something of its own body."""
        own = [found for found in reachable.tensors(self._read(scope)) if reachable.root(found[0]) in scope.names()]
        return self._newest(own)[0]

    def _read(self, scope: Scope) -> dict[str, Any]:
        return {name: thing for name, thing in scope.space.items() if name not in self.imported}

    # -- parts of statements --------------------------------------------------------------------------------

    def _one_of(self, section: str) -> str:
        return self.random.choice(templates.operations()[section])

    def _write(self, scope: Scope) -> str:
        return self.filled(self._one_of("write"), scope)

    def _unpacked(self, scope: Scope) -> str:
        return self.filled(self._one_of("unpacked"), scope)

    def _condition(self, scope: Scope) -> str:
        path, tensor = self._pick(scope)
        tests = [f"{path}.sum() > 0", f"{path}.dim() > 1", f"{path}.mean() < 1", f"len({path}) > 1", "True"]
        tests += [f"{path}.requires_grad", "torch.is_grad_enabled()", f"{path}.shape[0] == {len(tensor)}"]
        return self.random.choice([*tests, f"not {path}.isnan().any()"])

    def _target(self, scope: Scope) -> str:
        """A new name mostly; else one of the body's own, an item of a dict, an attribute of an object."""
        held = [(name, scope.space[name]) for name in scope.names() if name not in self.leaves]
        tensors = [name for name, thing in held if isinstance(thing, torch.Tensor)]
        items = [f'{name}["{self.random.choice("abh")}"]' for name, thing in held if isinstance(thing, dict)]
        objects = [f"{name}.{self.random.choice(['h', 'last'])}" for name, thing in held if reachable.is_object(thing)]
        places = self.random.choices([tensors, items, objects, []], [22, 8, 6, 64])[0]
        return self.random.choice(places) if places else self.fresh()

    def _call(self, scope: Scope) -> str:
        """Of a function, a network, or an object's method of the program."""
        found = [(name, thing) for name, thing in self._read(scope).items() if not name.startswith("__")]
        functions = [(name, thing) for name, thing in found if callable(thing) and not isinstance(thing, type)]
        functions += [(f"{name}.step", thing.step) for name, thing in found if hasattr(type(thing), "step")]
        if not functions:
            raise Missing
        name, called = self.random.choice(functions)
        if isinstance(called, torch.nn.Module):
            return self.filled(f"{name}({{E}})", scope)
        return self.filled(f"{name}({', '.join(['{a}', '{b}', '{c}'][: _needed(called)])})", scope)


FITS: dict[str, Fits] = {
    "v": lambda t: t.dim() == 1,
    "w": lambda t: t.dim() == 1,
    "M": lambda t: t.dim() == 2,
    "N": lambda t: t.dim() == 2,
    "T": lambda t: t.dim() == 3,
}


def _needed(function: Callable[..., Any]) -> int:
    """How many arguments it doesn't go without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
