"""What the check asks of a run: one definition that both sides read. It travels as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

PROTOCOL = 15  # the two sides refuse to talk otherwise


Place = tuple[int, int, int, int]  # first line and column, last ones; columns in bytes of UTF-8


@dataclass(frozen=True)
class Plan:
    """How a run departs from the plain one. The default is nothing at all."""

    scale: float = 1.0  # factor on random inputs and on leaves
    weights: float = 1.0  # factor on what is filled at random in place, as modules do with their parameters
    ties: bool = False  # what is drawn at random, and leaves, are multiples of a half: some equal, some zero
    nan: bool = False  # the last element of each tensor that a call is given is no number
    wide: bool = False  # what a call is given in float32 is in float64
    flipped: bool = False  # modules that a call is about are in their other mode: training or not
    otherwise: tuple[str, ...] = ()  # parameters of a function that is called, whose defaults are replaced
    fresh_leaves: bool = False  # hand out `leaf * 1` for every leaf
    double: bool = False  # float64 by default; random numbers are drawn as in float32
    direction: int | None = None  # forward only, with every leaf moved along this direction …
    step: float = 0.0  # … by this much
    held: bool = False  # … and with gradients on, while what autograd cuts off stays as in the process's first run

    @property
    def departs(self) -> bool:
        """Whether anything is done differently."""
        return self != Plan()


@dataclass(frozen=True)
class Search:
    """Which calls are looked for."""

    lines: tuple[int, ...]  # in the functions that are called, or that others of the file call
    targets: tuple[tuple[int, ...], ...]  # lines, of which one has to run for each
    writes: tuple[tuple[int, ...], ...]  # for each target, lines that make the predicted error; () where none does
    stems: tuple[str, ...]  # what the predicted errors contain; calls that show one of them are better
    akin: tuple[str, ...]  # the same of other errors that a write makes: the next best
    leaves: bool  # one of them is about leaves


@dataclass(frozen=True)
class Request:
    """One run to be made."""

    path: str
    text: str
    cwd: str
    seconds: float
    backwards: int  # passes observed before the run is stopped
    call: str | None = None  # None: as a program
    recorded: str | None = None  # the file with the arguments of a recorded call
    command: str | None = None  # the user's own, run on a copy of the project in `root`
    root: str | None = None
    search: Search | None = None  # look for calls instead
    entry: str | None = None  # another file, that is run as the program and imports this one
    lines: tuple[int, ...] = ()  # 1-based, to be watched
    ways: tuple[Place, ...] = ()  # expressions that tell when they run: as the lines -1, -2 …
    seed: int = 0
    plan: Plan = field(default_factory=Plan)
    shared: tuple[str, ...] = ()  # names of the module whose values functions use: told at the end
    skipped: int = 0  # backward passes that come first and aren't carried out: leaves get zeros
    bound: tuple[str, ...] = ()  # names that a program binds: of those the modules and optimizers are told
    ends: tuple[str, ...] = ()  # names of what a program comes to
    left: tuple[str, ...] = ()  # expressions that lead to what a call leaves: driven backward with what it gives
    hooks: bool = False  # clone-packing saved-tensor hooks, checkpoint bypassed
    ones: bool = False  # a cotangent of ones where torch would ask for one
    kept: bool = False  # every backward keeps its graph
    apart: bool = False  # what `expand` returns has memory of its own
    plainly: bool = False  # the transforms of `torch.func` carried out by autograd alone
    copies: bool = False  # hooks get copies of gradients
    updates: bool = False  # steps of leaves along their gradients are made without gradients
    directions: int = 0  # directional derivatives to report
    graphs: bool = False  # tell whether anything with a graph goes in or comes out in the watched lines
    cuts: tuple[Place, ...] = ()  # expressions whose results aren't held, although they cut a graph
    leaves: tuple[str, ...] = ()  # what is computed with such content (as `Leaf.key`) is handed out as a leaf
    unchecked: bool = False  # torch's version check is off: what it would raise is computed, wrongly
    measure: bool = False  # time and memory instead of what is computed
    trace: bool = False  # every conflict of the run; nothing that autograd forbids stops it
    further: tuple[Request, ...] = ()  # of the same file and text, made after this one in the same process

    @property
    def departs(self) -> bool:
        """Whether torch is made to do anything else than in the plain run."""
        own = self.hooks, self.apart, self.updates, self.unchecked, self.graphs, self.leaves, self.plan.departs
        return any(own)

    @property
    def tells_errors(self) -> bool:
        """Whether the run tells errors that come by in the user's code: not where it is measured or moved."""
        return not (self.measure or self.trace or self.plan.direction is not None)

    @property
    def tells_state(self) -> bool:
        """Whether the run tells what it leaves behind: not where it is measured or moved."""
        return not (self.plan.double or self.measure or self.trace or self.graphs or self.unchecked)

    @property
    def tells_sharing(self) -> bool:
        """Whether it tells which tensors share memory: not where the check itself makes copies."""
        return self.tells_state and not (self.apart or self.plainly)

    def message(self, number: int) -> dict[str, object]:
        """The request as a JSON object that `numbered` reads; of those that follow, what is different."""
        own = asdict(self)
        others = [asdict(one) for one in self.further]
        further = [{name: value for name, value in one.items() if value != own[name]} for one in others]
        return {"id": number, **own, "further": [{**one, "further": []} for one in further]}


def numbered(message: dict[str, Any]) -> tuple[int, Request]:
    """The number and the request of a JSON object from `Request.message`."""
    return message["id"], _request(message)


def _request(message: dict[str, Any]) -> Request:
    given = {one.name: _frozen(message[one.name]) for one in fields(Request)}
    search = message["search"]
    given["plan"] = Plan(**{name: _frozen(value) for name, value in message["plan"].items()})
    given["search"] = None if search is None else Search(**{name: _frozen(value) for name, value in search.items()})
    given["further"] = tuple(_request({**message, **one}) for one in message["further"])
    return Request(**given)


def _frozen(value: Any) -> Any:
    """JSON has lists where a request has tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
