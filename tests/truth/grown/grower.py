"""The program of a seed: statements tried one after the other, bodies in the frames that reach them."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch

from .. import running
from ..grammar import Program
from . import reachable, templates
from .operands import Missing, Operands, Scope

IMPORTS = """\
import contextlib
import functools
import operator
from collections import deque, namedtuple
from dataclasses import dataclass, field, replace

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

"""
SECONDS = 30  # of one try: more than the first import of an optimizer takes on a busy machine
TRIES, KEPT = 90, 0.25  # statements tried; of those that autograd refuses, which end a program
OUTER = {
    "simple": 59,
    "container": 6,
    "flow": 10,
    "mode": 4,
    "function": 7,
    "class": 5,
    "network": 5,
    "gradient": 5,
    "idiom": 5,
}
INNER = {"simple": 62, "container": 6, "flow": 9, "mode": 3, "function": 2}
PLACES = {0: OUTER, 1: INNER}  # by depth; deeper bodies have no others inside
HAZARD = re.compile("|".join(pattern for kind, pattern in running.SYMPTOMS.items() if kind in running.FAILING))


class Refused(BaseException):
    """Autograd refused a statement that is kept; no handler of the program sees it."""


@dataclass(slots=True)
class Body:
    """What was grown where a template says `...`."""

    lines: list[str] = field(default_factory=list)
    result: str = "inp"  # what a function with this body may give back
    space: dict[str, Any] = field(default_factory=dict)


def generate(seed: int) -> Program:
    """The program of that seed: the same wherever torch computes the same."""
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        return _Grower(seed).program()


class _Grower:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(f"gradfix-grown-{seed}")
        self.imported: dict[str, Any] = {}
        exec(IMPORTS, self.imported)
        self.imported |= {"__name__": running.FILE, "print": lambda *_, **__: None}
        self.imported |= {"__grow__": self._grow, "__grown__": self._grown}
        width = self.random.choice([3, 4])
        self.operands = Operands(self.random, frozenset(self.imported), width)
        self.lines: list[str] = []
        self.bodies: dict[int, Body] = {}
        self.scopes: list[Scope] = []

    def program(self) -> Program:
        self._plant()
        scope = self._replayed([])
        size, refused = self.random.choice([8, 10, 14, 18, 24]), False
        for _ in range(TRIES):
            if refused or len(self.lines) > size:
                break
            leaves = list(self.operands.leaves)
            scope, refused, kept = self._step(scope)
            if not kept:
                self.operands.leaves = leaves
        self._finish(scope)
        text = IMPORTS + "\n".join(self.lines) + "\n"
        return Program(self.seed, "grown", text, tuple(self.operands.leaves))

    def _plant(self) -> None:
        """Leaves of three shapes, and perhaps data."""
        width = self.operands.width
        for place, size in enumerate(
            self.random.sample([(width,), (3, width), (width,) * 2, (2, 3, width), (2, width)], 3)
        ):
            name, shape = self.random.choice("wxgp") + str(place), ", ".join(map(str, size))
            forms = [f"torch.randn({shape}, requires_grad=True)", f"nn.Parameter(torch.randn({shape}))"]
            if place == 0 or self.random.random() < 0.8:
                self.operands.leaves.append(name)
            else:
                forms = [f"torch.randn({shape})"]
            self.lines.append(f"{name} = {self.random.choice(forms)}")

    def _step(self, scope: Scope) -> tuple[Scope, bool, bool]:
        """One statement more: what is reached now, whether autograd refuses it, and whether it was kept."""
        refused = False
        try:
            made = self._statement(scope, PLACES[0])
        except Missing:
            return scope, False, False
        except Refused as error:
            made, refused = list(error.args[0]), True
        if made and len(made) == 1 and not refused:
            self.lines += made
            return scope, False, True
        try:
            scope = self._replayed(made)
        except Exception as error:
            if made and HAZARD.search(str(error)) and (refused or self.random.random() < KEPT):
                self.lines += made
                return scope, True, True
            return self._replayed([]), False, False
        self.lines += made
        return scope, False, bool(made)

    def _replayed(self, more: list[str]) -> Scope:
        """What is reached after the program so far and these lines; raises what they raise."""
        torch.manual_seed(0)
        torch.set_grad_enabled(True)
        space = dict(self.imported)
        scope = Scope(space, self.operands.imported)
        self.scopes = [scope]
        self._execute([*self.lines, *more], space)
        return scope

    def _execute(self, lines: list[str], space: dict[str, Any]) -> None:
        code = compile("\n".join(lines), running.FILE, "exec")
        with running.limited(SECONDS):
            exec(code, space)

    # -- one statement --------------------------------------------------------------------------------------

    def _statement(self, scope: Scope, places: dict[str, int]) -> list[str]:
        """The lines of a statement that torch takes, none if it doesn't; raises `Missing`, and `Refused` with them."""
        section = self.random.choices(list(places), list(places.values()))[0]
        text = self.operands.filled(templates.choose(self.random, section), scope)
        grad, before = torch.is_grad_enabled(), Scope(dict(scope.space), scope.known)
        marked = self._marked(text.splitlines())
        refused = False
        try:
            self._execute(marked, scope.space)
        except Refused:
            refused = True
        except Exception as error:
            torch.set_grad_enabled(grad)
            if not (HAZARD.search(str(error)) and self.random.random() < KEPT):
                return []
            refused = True
        made = self._unmarked(marked, before)
        if refused:
            raise Refused(made)
        return made

    def _marked(self, lines: list[str]) -> list[str]:
        """Bodies become calls that grow them; results, what these know."""
        made = []
        for line in lines:
            if line.strip() == "...":
                self.bodies[len(self.bodies)] = Body()
                line = line.replace("...", f"__grow__({len(self.bodies) - 1})")
            made.append(line.replace("{r}", f"__grown__({len(self.bodies) - 1})"))
        return made

    def _unmarked(self, lines: list[str], before: Scope) -> list[str]:
        made = []
        for line in lines:
            margin, call, number = re.match(r"( *)(__grow__\((\d+)\))?", line).groups()  # type: ignore[union-attr]
            if call:
                body = self.bodies[int(number)].lines or self._unreached(before)
                made += templates.indented(body, margin)
            else:
                made.append(re.sub(r"__grown__\((\d+)\)", lambda m: self.bodies[int(m[1])].result, line))
        return made

    def _unreached(self, scope: Scope) -> list[str]:
        """A body that the run went past: a statement nobody has tried."""
        with contextlib.suppress(Missing):
            return self.operands.filled("<<{n0} = {u}|{q}>>", scope).splitlines()
        return ["pass"]

    # -- bodies ---------------------------------------------------------------------------------------------

    def _grow(self, number: int) -> None:
        """Called where a template says `...`: grows what stands there, the first time."""
        body = self.bodies[number]
        if body.space:
            return
        frame = sys._getframe(1)
        outer = next(scope for scope in self.scopes if scope.space is frame.f_globals)
        if frame.f_locals is frame.f_globals:
            scope = Scope(outer.space, outer.known, outer.depth + 1)
        else:
            own = {name for name in frame.f_locals if name not in frame.f_code.co_freevars}
            scope = Scope({**outer.space, **frame.f_locals}, frozenset({*outer.space} - own), outer.depth + 1)
        body.space = scope.space
        self.scopes.append(scope)
        try:
            self._fill(body, scope)
        finally:
            self.scopes.pop()
            with contextlib.suppress(Missing):
                body.result = self.operands.result(scope) + self.random.choice(["", "", "", " * 2"])

    def _fill(self, body: Body, scope: Scope) -> None:
        wanted = self.random.choice([1, 1, 2, 2, 3])
        for _ in range(3 * wanted):
            if len(body.lines) >= wanted:
                break
            try:
                body.lines += self._statement(scope, PLACES.get(scope.depth, {"simple": 1}))
            except Missing:
                continue
            except Refused as error:
                body.lines += error.args[0]
                raise Refused from None

    def _grown(self, number: int) -> Any:
        return eval(self.bodies[number].result, self.bodies[number].space)

    # -- the end --------------------------------------------------------------------------------------------

    def _finish(self, scope: Scope) -> None:
        """A loss of a few of the tensors, mostly new ones; backward; what is shown."""
        tracked = [path for path, tensor in reachable.tensors(scope.space) if tensor.requires_grad]
        computed = tracked[-10:]
        terms = self.random.sample(computed, min(len(computed), self.random.choice([2, 3, 4, 6])))
        forms = ["{}.sum()", "{}.mean()", "({} ** 2).sum()", "{}.pow(2).mean()", "{}.tanh().sum()", "{}.abs().sum()"]
        self.lines.append("loss = " + " + ".join(self.random.choice(forms).format(term) for term in terms or ["w0"]))
        with contextlib.suppress(Missing):
            self.lines += self.operands.filled(templates.choose(self.random, "end"), scope).splitlines()
        shown = [f"{leaf}.grad" for leaf in self.operands.leaves if not leaf.startswith("net_")]
        shown += [path for path, _ in list(reachable.tensors(scope.space))[-6:]]
        self.lines.append(f"print({', '.join(self.random.sample(shown, min(3, len(shown))))})")
