"""Looks for calls of a file's functions and modules that run and reach given lines, guided by what goes wrong.

A best-first search over calls: one that came further than another is worked on first, by what its error suggests and
then by other guesses. Deterministic but for the bound of time. Runs in a child of its own; only texts leave it.
"""

from __future__ import annotations

import ast
import heapq
import inspect
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gradfix.backward.worker.messages import FoundMessage, Said
from gradfix.backward.worker.modules import imported
from gradfix.backward.worker.requests import Request
from gradfix.backward.worker.requests import Search as Wanted
from gradfix.backward.worker.synthesis import routes as worker_routes
from gradfix.backward.worker.synthesis.attempt import (
    AKIN,
    CONSTANT,
    DIFFERENTIABLE,
    FAILED,
    RAISED,
    RAN,
    Outcome,
    Trials,
    where,
)
from gradfix.backward.worker.synthesis.guesses import SIZE
from gradfix.backward.worker.synthesis.messages import repairs
from gradfix.backward.worker.synthesis.repairs import Failure, negated, resized, tamed
from gradfix.backward.worker.synthesis.routes import Route
from gradfix.backward.worker.synthesis.signatures import Signatures
from gradfix.backward.worker.synthesis.values import Call, Tensor, Value

TRIES = 800  # of all ways together
BATCH = 5  # rows of a batch: more values than few rows have, and no square
EXTRA = 90  # further tries once a call runs that doesn't show the predicted error; twice as many for its write
SECONDS = 2.5  # of the processor, for all tries
SLOW = 0.25  # of the processor, beyond which a try is too dear for others like it


@dataclass
class Found:
    """The best call for one target so far."""

    text: str
    level: int
    finite: bool
    wrote: bool = True  # a line that makes the error ran

    @property
    def worth(self) -> tuple[bool, bool, int]:
        return self.finite, self.wrote, self.level


def execute(request: Request, about: Wanted, code: types.CodeType, report: Callable[[Said], None]) -> FoundMessage:
    """Search for calls that reach the targets of `about`; report each better one at once."""
    module = imported(request.path, code, request.cwd)
    tree = ast.parse(request.text)
    trials = Trials(module, request.path, about.stems, about.akin)
    targets = [Target(frozenset(lines), frozenset(writes)) for lines, writes in zip(about.targets, about.writes)]
    search = Search(tree, trials, targets, lines=about.lines, leaves=about.leaves, report=report)
    search.run()
    return search.message()


@dataclass(frozen=True)
class Target:
    """What a call has to reach."""

    lines: frozenset[int]  # one of them
    writes: frozenset[int]  # better also one of these

    def reached(self, outcome: Outcome) -> bool:
        """Whether it is."""
        return bool(self.lines & outcome.executed)

    def written(self, outcome: Outcome) -> bool:
        """Whether also the write ran, if there is one."""
        return not self.writes or bool(self.writes & outcome.executed)


@dataclass
class Node:
    """A call that was tried, with what is still to be made of it."""

    call: Call
    outcome: Outcome
    following: Iterator[Call]
    depth: int
    misses: bool = False  # it ran, but past all that is to be reached
    taken: int = 0

    @property
    def key(self) -> float:
        """Smaller for what is worked on first: what came further, then what was worked on less."""
        came = len(self.outcome.executed) if self.misses else self.outcome.progress
        return -came + 0.2 * self.taken + 1.5 * self.depth


class Search:
    """The search for one group of targets, that lie in one function."""

    def __init__(
        self,
        tree: ast.Module,
        trials: Trials,
        targets: list[Target],
        *,
        lines: Sequence[int],
        leaves: bool,
        report: Callable[[Said], None],
    ) -> None:
        """Ways lead to `lines`, and calls must reach the targets.

        A call that shows an error that is expected is looked for, and one without is second best.
        """
        self._tree, self._trials, self._targets = tree, trials, targets
        self._lines, self._leaves, self._fails = lines, leaves, trials.expects
        self._report = report
        self._signatures = Signatures(tree, trials.module)
        self._found: dict[int, Found] = {}
        self._ran: Found | None = None  # the best call that reaches none
        self._seen: set[str] = set()
        self._calls: dict[str, Call] = {}  # of what was found, by text
        self._outcomes: dict[str, Outcome] = {}
        self._last: tuple[float, str] = (-1.0, "nothing could be tried")
        self._left = TRIES
        self._until = time.process_time() + SECONDS
        self._extra: float = EXTRA

    def run(self) -> None:
        """Try one way after the other until every target has its call."""
        ways = worker_routes.routes(self._tree, self._lines)
        for number, way in enumerate(ways):
            share = self._left // 2 if number + 1 < len(ways) else self._left
            self._way(way, self._left - share)
            if self._done():
                break
        for text in {one.text: None for one in self._found.values()}:
            self._narrow(self._calls[text])

    def _narrow(self, call: Call) -> None:
        """What is more like a real call, where it does as well.

        Who differentiates something of his own is given data; batches are no squares, since equal sizes hide what is
        swapped.
        """
        own = self._outcomes[call.text].passes
        for change in (*((_as_data,) if own and self._trials.knows("data") else ()), _as_batch):
            other = call.map(change)
            kept = {number: one for number, one in self._found.items() if one.text == call.text}
            if other == call or not kept:
                continue
            outcome = (self._trials.looked_into if change is _as_data else self._trials.run)(other.text)
            reached = outcome.tracked and all(self._targets[number].reached(outcome) for number in kept)
            if reached and outcome.finite and all(outcome.level >= one.level for one in kept.values()):
                self._found.update({number: replace(one, text=other.text) for number, one in kept.items()})
                call = other

    def message(self) -> FoundMessage:
        """What was found, for the check."""
        best = [self._found.get(number, self._ran) for number in range(len(self._targets))]
        return {
            "calls": [None if one is None else one.text for one in best],
            "reached": [number in self._found for number in range(len(self._targets))],
            "failure": self._last[1],
            "tries": self._trials.made,
        }

    def _done(self) -> bool:
        if self._left <= 0 or time.process_time() > self._until:
            return True
        if len(self._found) < len(self._targets) or not all(one.finite for one in self._found.values()):
            return False
        enough = FAILED if self._fails else DIFFERENTIABLE
        return self._extra <= 0 or all(one.wrote and one.level >= enough for one in self._found.values())

    def _way(self, way: Route, stop: int) -> None:
        heap: list[tuple[float, int, Node]] = []
        serial = 0
        for call in self._signatures.starts(way):
            for node in self._tried(call):
                serial += 1
                heapq.heappush(heap, (node.key, serial, node))
            if self._done():
                return
            if any(node.outcome.seconds > SLOW for _, _, node in heap):
                break
        while heap and self._left > stop and not self._done():
            _, _, node = heapq.heappop(heap)
            following = next((one for one in node.following if one.text not in self._seen), None)
            if following is None:
                continue
            node.taken += 1
            serial += 1
            heapq.heappush(heap, (node.key, serial, node))
            for made in self._tried(following, node.depth + 1):
                serial += 1
                heapq.heappush(heap, (made.key, serial, made))

    def _tried(self, call: Call, depth: int = 0) -> Iterator[Node]:
        """Try a call that is new."""
        text = call.text
        if text in self._seen:
            return
        self._seen.add(text)
        self._left -= 1
        if len(self._found) == len(self._targets):
            self._extra -= 1 if all(one.wrote for one in self._found.values()) else 0.5
        outcome = self._outcome(call)
        self._note(call, outcome)
        further = self._further(call, outcome)
        if further is not None:
            yield from self._tried(further, depth)
        misses = outcome.level >= RAN and not any(one.written(outcome) for one in self._targets)
        yield Node(call, replace(outcome, result=None), self._following(call, outcome), depth, misses)

    def _outcome(self, call: Call) -> Outcome:
        """What a call shows. Where nothing needs gradients, an error that says so is nobody's fault.

        Whole numbers, say, have no graph; they are compared where the targets compute nothing that has one.
        """
        outcome = self._trials.run(call.text)
        missing = [one for number, one in enumerate(self._targets) if number not in self._found]
        reached = [one for one in missing if one.reached(outcome)]
        if outcome.level == RAN and outcome.leaves_data and reached:
            graphs = self._trials.looked_into(call.text).graphs
            return replace(outcome, level=CONSTANT if not any(one.lines & graphs for one in reached) else RAN)
        given = any(isinstance(value, Tensor) and value.is_floating and value.tracked for _, _, value in call.values())
        if outcome.level < AKIN or given or self._trials.looked_into(call.text).tracked:
            return outcome
        return replace(outcome, level=RAN)

    def _further(self, call: Call, outcome: Outcome) -> Call | None:
        """The call of a function that a call returned, where its lines are wanted."""
        if outcome.level != RAN or not inspect.isfunction(outcome.result) or len(call.stages) > 2:
            return None
        if outcome.result.__code__.co_filename != self._signatures.path:
            return None
        return self._signatures.extended(call, outcome.result)

    def _note(self, call: Call, outcome: Outcome) -> None:
        """Keep it where it is the best for a target."""
        if outcome.error is not None and outcome.level < AKIN and outcome.progress >= self._last[0]:
            self._last = (outcome.progress, f"{type(outcome.error).__name__}: {outcome.error}".partition("\n")[0])
        if outcome.level < CONSTANT:
            return
        found = Found(call.text, outcome.level, outcome.finite)
        better = self._ran is None or found.worth > self._ran.worth
        self._ran = found if better else self._ran
        for number, target in enumerate(self._targets):
            known = self._found.get(number)
            found = replace(found, wrote=target.written(outcome))
            if target.reached(outcome) and (known is None or found.worth > known.worth):
                self._found[number] = found
                self._calls[call.text], self._outcomes[call.text] = call, replace(outcome, result=None)
                better = True
        if better:
            self._report({"found": self.message()})

    def _following(self, call: Call, outcome: Outcome) -> Iterator[Call]:
        """What to try next, the likeliest first."""
        failure = None if outcome.error is None else self._failure(outcome.error)
        relevant: frozenset[str] = frozenset()
        if outcome.seconds > SLOW:
            yield from self._signatures.smaller(call)
        if failure is not None and outcome.level == RAISED:
            relevant = failure.relevant
            if "NoneType" in failure.message:  # perhaps what was left out
                yield from self._signatures.others(call, relevant, only=True)
            yield from repairs(call, failure)
        if not outcome.finite:
            yield from tamed(call)
        if outcome.level >= RAN:
            relevant = self._guarding(outcome)
            yield from negated(call)
            if self._leaves:
                yield from self._signatures.leaves(call)
            yield from self._signatures.evaluating(call)
        yield from self._signatures.others(call, relevant, only=True)
        yield from self._signatures.others(call, relevant, only=False)
        yield from resized(call, failure or Failure("", "", relevant))

    def _failure(self, error: BaseException) -> Failure:
        place = where(error, self._signatures.path)
        relevant: frozenset[str] = frozenset()
        if place is not None:
            relevant = self._signatures.relevant(place[0], place[1])
        return Failure(type(error).__name__, str(error), relevant, self._signatures.texts)

    def _guarding(self, outcome: Outcome) -> frozenset[str]:
        """Arguments that decide whether targets that weren't reached are."""
        wanted = [lines for one in self._targets for lines in (one.lines, one.writes)]
        names: set[str] = set()
        for lines in wanted:
            if lines and not lines & outcome.executed:
                names |= self._signatures.guarding(min(lines))
        return frozenset(names)


def _as_data(value: Value) -> Value:
    return (
        replace(value, tracked=False) if isinstance(value, Tensor) and value.is_floating and not value.leaf else value
    )


def _as_batch(value: Value) -> Value:
    square = isinstance(value, Tensor) and len(value.shape) > 1 and value.shape[0] == SIZE and value.kind != "definite"
    return replace(value, shape=(BATCH, *value.shape[1:])) if square and isinstance(value, Tensor) else value
