"""The pairs of runs that a verdict takes, and the requests for them."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, replace

from gradfix.backward.limits import Limits
from gradfix.backward.verdict.branches import new_ways
from gradfix.backward.verdict.evidence import Subject
from gradfix.backward.verdict.state import bound_names, end_names, shared_names
from gradfix.backward.verdict.symptoms import Cure
from gradfix.backward.worker.requests import Place, Plan, Request

ONE = Plan()
PAIRS = (  # seeds and plans
    (0, ONE),
    *((seed, Plan(scale=scale)) for seed, scale in ((0, -1.0), (1, 1.0), (2, -10.0), (2, 0.1), (2, 10.0))),
    *((seed, Plan(scale=scale, weights=4.0)) for seed, scale in ((3, 3.0), (4, -10.0))),
)
TIES, NAN, FLIPPED = (5, Plan(ties=True)), (6, Plan(nan=True)), (7, Plan(flipped=True))
WIDE = (8, Plan(wide=True))
LONGER = 8  # times as many passes where lines of the rewrite come after the last


@dataclass(frozen=True, slots=True)
class Requests:
    """Makes the requests for one subject."""

    subject: Subject
    base: Request  # of the original, plain
    after: frozenset[int]  # lines watched in the rewritten text
    ways: tuple[Place, ...]  # the same of its expressions

    @classmethod
    def of(cls, subject: Subject, limits: Limits) -> Requests:
        """Those of `subject` within the limits of each run."""
        ours, theirs = subject.changed_before, subject.changed_after
        base = Request(
            path=subject.path,
            text=subject.before,
            cwd=subject.cwd,
            seconds=limits.seconds,
            backwards=limits.backwards,
            call=subject.way.call,
            recorded=subject.way.recorded,
            entry=subject.way.entry,
            lines=tuple(sorted(ours)),
            shared=shared_names(subject.before, subject.after),
            bound=bound_names(subject.before, subject.after),
            ends=end_names(subject.before, subject.after, ours, theirs),
        )
        return cls(subject, base, theirs, new_ways(subject.before, subject.after, theirs))

    def pair(self, seed: int, plan: Plan) -> tuple[Request, Request]:
        """Of the original and of the rewritten text."""
        first = replace(self.base, seed=seed + self.subject.way.seed, plan=plan)
        return first, replace(first, text=self.subject.after, lines=tuple(sorted(self.after)), ways=self.ways)

    def special(self, cure: Cure | None) -> list[tuple[int, Plan]]:
        """Further pairs: with what random numbers never are, unless the `cure` needs a smooth forward; of calls more.

        Those are made with an element that is no number, with arguments in float64, with modules in their other mode,
        and with other values for the defaults of parameters that the changed lines speak of.
        """
        subject = self.subject
        smooth = subject.silent or cure in (Cure.DIFFERENCES, Cure.NONE)
        is_call = subject.way.call is not None
        made = [] if smooth else [TIES, *([NAN, WIDE] if is_call else [])]
        if is_call:
            names = named_in(subject.before, subject.changed_before) | named_in(subject.after, subject.changed_after)
            others = defaults_of(subject.before) & names
            made += [FLIPPED, *([(0, Plan(otherwise=tuple(sorted(others))))] if others else [])]
        return made

    def plain(self) -> Request:
        """Of the original, with nothing watched."""
        return replace(self.base, seed=self.subject.way.seed, lines=())

    def longer(self) -> Requests:
        """The same with more passes."""
        return replace(self, base=replace(self.base, backwards=LONGER * self.base.backwards))


def named_in(text: str, lines: Collection[int]) -> frozenset[str]:
    """The names in these lines of a text."""
    return frozenset(
        node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name) and node.lineno in lines
    )


def defaults_of(text: str) -> frozenset[str]:
    """The parameters of functions of a text that have defaults."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = node.args
            places = [*given.posonlyargs, *given.args]
            found.update(one.arg for one in places[len(places) - len(given.defaults) :])
            found.update(
                one.arg for one, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if value is not None
            )
    return frozenset(found)
