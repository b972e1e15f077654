"""What a run reports, as frozen values; read from the JSON lines of the child, which are not to be trusted."""

from __future__ import annotations

import base64
import json
import sys
from array import array
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Message = dict[str, Any]  # a JSON object
PROTOCOL = 5
BETWEEN = "\x1e\x1e\x1e\n"  # in what a process prints: here the next of its runs begins


class ProtocolError(ValueError):
    """The child said something that is no answer. The program may have written to its descriptors."""


NARROW = "float32 written into the code"  # less exact than the differences it would be held against
NUMBERS = "numbers taken from tensors"  # among what stopped gradients; often only to be printed


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run departs from the plain one; the twin of `worker.vary.Plan`."""

    scale: float = 1.0  # factor on random inputs and on leaves
    weights: float = 1.0  # factor on what is filled at random in place, as modules do with their parameters
    fresh_leaves: bool = False  # `leaf * 1` for every leaf
    double: bool = False  # float64 by default
    direction: int | None = None  # forward only, with every leaf moved along this direction …
    step: float = 0.0  # … by this much


@dataclass(frozen=True, slots=True)
class Search:
    """Which calls are looked for."""

    lines: tuple[int, ...]  # in the functions that are called, or that others of the file call
    targets: tuple[tuple[int, ...], ...]  # lines, of which one has to run for each
    writes: tuple[tuple[int, ...], ...]  # for each target, lines that make the predicted error; () where none does
    stems: tuple[str, ...]  # what the predicted errors contain; calls that show one of them are better
    akin: tuple[str, ...]  # the same of other errors that a write makes: the next best
    leaves: bool  # one of them is about leaves


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    calls: tuple[str | None, ...]  # one for each target
    reached: tuple[bool, ...]  # whether it ran a line of the target
    failure: str  # of the call that came furthest
    tries: int


@dataclass(frozen=True, slots=True)
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
    seed: int = 0
    plan: Plan = field(default_factory=Plan)
    hooks: bool = False  # clone-packing saved-tensor hooks, checkpoint bypassed
    ones: bool = False  # a cotangent of ones where torch would ask for one
    kept: bool = False  # every backward keeps its graph
    apart: bool = False  # what `expand` returns has memory of its own
    directions: int = 0  # directional derivatives to report
    unchecked: bool = False  # torch's version check is off: what it would raise is computed, wrongly
    measure: bool = False  # time and memory instead of what is computed
    trace: bool = False  # every conflict of the run; nothing that autograd forbids stops it
    further: tuple[Request, ...] = ()  # of the same file and text, made after this one in the same process

    def message(self, number: int) -> Message:
        """The request as the child reads it; of those that follow, what is different."""
        own = asdict(self)
        others = [asdict(one) for one in self.further]
        further = [{name: value for name, value in one.items() if value != own[name]} for one in others]
        return {"id": number, **own, "further": [{**one, "further": []} for one in further]}


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception of the user's code."""

    type: str
    message: str
    line: int | None  # in the file, where the exception passed through it

    def __str__(self) -> str:
        first = self.message.partition("\n")[0]
        return f"{self.type}: {first}" if first else self.type


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's values, or for a large one its digest and projections."""

    dtype: str
    shape: tuple[int, ...]
    requires_grad: bool
    values: array[Any] | None = None
    digest: str | None = None
    norm: float = 0.0
    projections: tuple[float, ...] = ()
    nans: int = 0

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf one pass reached."""

    names: tuple[str, ...]  # what the user calls it, () when no variable holds it
    key: str  # type, shape and digest of its content before the pass
    gradient: Tensor | None


@dataclass(frozen=True, slots=True)
class Event:
    """One backward pass."""

    kind: str  # "backward" or "grad"
    line: int | None
    rng: str
    roots: tuple[Tensor, ...]
    leaves: tuple[Leaf, ...]
    error: Raised | None
    stops: tuple[str, ...]  # what stopped gradients on purpose, in runs that look for it
    objective: float | None = None
    executed: frozenset[int] = frozenset()  # of the watched lines, so far
    derivatives: tuple[float, ...] = ()
    unmoved: int = 0  # leaves with a gradient that no direction moves


@dataclass(frozen=True, slots=True)
class Conflict:
    """One way in which a traced run breaks backward; the twin of the tracer's."""

    kind: str
    by: str  # the function of torch that overwrote, or left the graph
    saved_by: str
    write: Spot | None  # None: not the user's code
    save: Spot | None
    times: int

    def __str__(self) -> str:
        where = "a library" if self.write is None else f"line {self.write.line}"
        what = f"`{self.write.text}`" if self.write is not None and self.write.text else self.by
        if self.save is None:
            return f"{self.kind}: {what} in {where}"
        return f"{what} in {where} overwrites what `{self.saved_by}` saved in line {self.save.line}"


@dataclass(frozen=True, slots=True)
class Spot:
    """An expression that ran: lines from 1, columns from 0, None where they aren't known."""

    file: str
    function: str
    line: int
    end_line: int
    column: int | None
    end_column: int | None
    text: str
    time: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How the run ended, in its own words."""

    error: Raised | None
    stopped: bool  # by us, after the last pass that was asked for
    executed: frozenset[int]
    executable: frozenset[int]
    rng: str
    stops: tuple[str, ...]
    arguments: tuple[Tensor, ...]  # of a call, as it left them
    results: tuple[Tensor, ...]  # tensors a call returned
    scalars: str  # numbers and texts it returned
    conflicts: tuple[Conflict, ...] = ()  # of a traced run
    code: int | None = None  # exit code of a command
    seconds: float = 0.0  # in the user's code
    memory: int = 0  # bytes at the peak, beyond those before the user's code
    met: bool = False  # it imported installed modules that the server had not


@dataclass(frozen=True, slots=True)
class Run:
    """Everything known about one run."""

    events: tuple[Event, ...]
    ended: Ended | None  # None: it never came to say so
    seconds: float
    killed: str | None  # the bound it broke
    status: int  # exit code, or minus the signal
    left: int  # processes it had left running
    output: str
    errors: str
    found: Found | None = None  # of a search
    further: tuple[Run, ...] = ()  # what came of those that followed in the same process

    @property
    def executed(self) -> frozenset[int]:
        """The watched lines that ran, also when the run was cut short."""
        lines = [event.executed for event in self.events] + ([] if self.ended is None else [self.ended.executed])
        return frozenset().union(*lines)


def message_of(line: bytes) -> Message:
    """One line of what was said. Raises `ProtocolError`."""
    try:
        message = json.loads(line)
    except ValueError:
        raise ProtocolError("the run reported what is no JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the run reported what is no object")
    return message


def run_of(said: list[Message], end: Message, further: int = 0) -> Run:
    """Put a run, and so many that followed it, together from the child's messages and the server's last one.

    Raises `ProtocolError`.
    """
    if not further:
        return _run_of(said, end)
    parts: list[list[Message]] = [[]]
    for message in said:
        parts[-1].append(message)
        if "ended" in message:
            parts.append([])
    outputs = str(end.get("output")).split(BETWEEN)
    runs = [_run_of(part, {**end, "output": output}) for part, output in zip(parts, outputs, strict=False)]
    return replace(runs[0], further=tuple(runs[1 : further + 1]))


def _run_of(said: list[Message], end: Message) -> Run:
    try:
        ended = [_ended(message["ended"]) for message in said if "ended" in message]
        found = [_found(message["found"]) for message in said if "found" in message]
        return Run(
            events=tuple(_event(message["event"]) for message in said if "event" in message),
            ended=ended[-1] if ended else None,
            seconds=float(end["seconds"]),
            killed=end["killed"],
            status=int(end["status"]),
            left=int(end["left"]),
            output=str(end["output"]),
            errors=str(end["errors"]),
            found=found[-1] if found else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"the run reported what makes no sense ({error!r})") from None


def _found(message: Message) -> Found:
    calls = tuple(None if call is None else str(call) for call in message["calls"])
    return Found(calls, tuple(map(bool, message["reached"])), str(message["failure"]), int(message["tries"]))


def _event(message: Message) -> Event:
    objective = message.get("objective")
    return Event(
        kind=str(message["kind"]),
        line=message["line"],
        rng=str(message["rng"]),
        roots=tuple(_tensor(root) for root in message["roots"]),
        leaves=tuple(_leaf(leaf) for leaf in message["leaves"]),
        error=_raised(message["error"]),
        stops=tuple(message["stops"]),
        objective=None if objective is None else float(objective),
        executed=frozenset(map(int, message["executed"])),
        derivatives=tuple(float(number) for number in message.get("derivatives", ())),
        unmoved=int(message.get("unmoved", 0)),
    )


def _ended(message: Message) -> Ended:
    return Ended(
        error=_raised(message["error"]),
        stopped=bool(message["stopped"]),
        executed=frozenset(map(int, message["executed"])),
        executable=frozenset(map(int, message["executable"])),
        rng=str(message["rng"]),
        stops=tuple(message["stops"]),
        arguments=tuple(_tensor(argument) for argument in message["arguments"]),
        results=tuple(_tensor(result) for result in message["results"]),
        scalars=str(message["scalars"]),
        conflicts=tuple(_conflict(conflict) for conflict in message["conflicts"]),
        code=None if message.get("code") is None else int(message["code"]),
        seconds=float(message["seconds"]),
        memory=int(message["memory"]),
        met=bool(message.get("used")),
    )


def _conflict(message: Message) -> Conflict:
    return Conflict(
        kind=str(message["kind"]),
        by=str(message["by"]),
        saved_by=str(message["saved_by"]),
        write=_spot(message["write"]),
        save=_spot(message["save"]),
        times=int(message["times"]),
    )


def _spot(message: Message | None) -> Spot | None:
    if message is None:
        return None
    column, end = message["column"], message["end_column"]
    return Spot(
        file=str(message["file"]),
        function=str(message["function"]),
        line=int(message["line"]),
        end_line=int(message["end_line"]),
        column=None if column is None else int(column),
        end_column=None if end is None else int(end),
        text=str(message["text"]),
        time=int(message["time"]),
    )


def _raised(message: Message | None) -> Raised | None:
    return None if message is None else Raised(str(message["type"]), str(message["message"]), message["line"])


def _leaf(message: Message) -> Leaf:
    gradient = message["gradient"]
    names = tuple(str(name) for name in message["names"])
    return Leaf(names, str(message["key"]), None if gradient is None else _tensor(gradient))


def _tensor(message: Message) -> Tensor:
    values: array[Any] | None = None
    if "data" in message:
        values = array(str(message["code"]), base64.b64decode(message["data"], validate=True))
        if sys.byteorder == "big":
            values.byteswap()
    return Tensor(
        dtype=str(message["dtype"]),
        shape=tuple(map(int, message["shape"])),
        requires_grad=bool(message["requires_grad"]),
        values=values,
        digest=message.get("digest"),
        norm=float(message.get("norm", 0.0)),
        projections=tuple(map(float, message.get("projections", ()))),
        nans=int(message.get("nans", 0)),
    )
