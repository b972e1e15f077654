"""What a run reported, as frozen values; read from the JSON lines of the child, which are not to be trusted."""

from __future__ import annotations

import base64
import json
import os
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, cast

from gradfix.backward.worker.messages import (
    BETWEEN,
    Answer,
    EndedMessage,
    ErrorMessage,
    EventMessage,
    FoundMessage,
    LeafMessage,
    Said,
    StateMessage,
    TensorMessage,
    UseMessage,
)
from gradfix.tracer.messages import ConflictMessage, SpotMessage
from gradfix.tracer.spots import Spot


class ProtocolError(ValueError):
    """The child said something that is no answer. The program may have written to its descriptors."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    calls: tuple[str | None, ...]  # one for each target
    reached: tuple[bool, ...]  # whether it ran a line of the target
    failure: str  # of the call that came furthest
    tries: int


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
    strides: tuple[int, ...] | None = None  # of what a call gives; 0 where a dimension has one element
    layout: str = ""  # where it isn't strided

    def __str__(self) -> str:
        return f"{self.layout} {self.dtype}{list(self.shape)}".lstrip()


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
    through: Spot | None = None  # the call in the file looked at that led to `write` elsewhere, and not to `save`, too

    def within(self, path: str) -> Spot | None:
        """Where the file `path` makes the write, itself or by a call."""
        return self.write if self.write is not None and self.write.file == path else self.through

    def told(self, path: str) -> str:
        """For the reader, who looks at the file `path`."""
        what = f"`{self.write.text}`" if self.write is not None and self.write.text else self.by
        where = f"{what} in {_place(self.write, path)}"
        if self.save is None:
            return f"{self.kind}: {where}"
        return f"{where} overwrites what `{self.saved_by}` saved in {_place(self.save, path)}"


def _place(spot: Spot | None, path: str) -> str:
    if spot is None:
        return "a library"
    return f"line {spot.line}" if spot.file == path else f"{os.path.basename(spot.file)}, line {spot.line}"


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
    state: Mapping[str, Tensor | str]  # what is left for others, by the expression that leads to it
    gradients: Mapping[str, tuple[Leaf, ...] | Raised]  # through what is left, or what backward raises there
    passes: int  # before that
    conflicts: tuple[Conflict, ...] = ()  # of a traced run
    code: int | None = None  # exit code of a command
    seconds: float = 0.0  # in the user's code
    memory: int = 0  # bytes at the peak, beyond those before the user's code
    met: bool = False  # it imported installed modules that the server had not
    sharing: frozenset[tuple[str, str]] | None = None  # paths to tensors that share memory; None: not looked at
    forked: bool = False  # two processes went on in it


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
    caught: tuple[tuple[int, Raised], ...] = ()  # what came by in the file outside of a pass, after so many passes

    @property
    def executed(self) -> frozenset[int]:
        """The watched lines that ran, also when the run was cut short."""
        lines = [event.executed for event in self.events] + ([] if self.ended is None else [self.ended.executed])
        return frozenset().union(*lines)


def said_of(line: bytes) -> Said:
    """One line of a run. Raises `ProtocolError`."""
    return cast(Said, _object(line))


def answer_of(line: bytes) -> Answer:
    """One line of the server. Raises `ProtocolError`."""
    return cast(Answer, _object(line))


def _object(line: bytes) -> dict[str, object]:
    try:
        message = json.loads(line)
    except ValueError:
        raise ProtocolError("the run reported what is no JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the run reported what is no object")
    return message


def run_of(said: list[Said], use: UseMessage, further: int = 0) -> Run:
    """Put a run, and so many that followed it, together from what it said and from what it used.

    Raises `ProtocolError`.
    """
    if not further:
        return _run_of(said, use)
    parts: list[list[Said]] = [[]]
    for message in said:
        parts[-1].append(message)
        if "ended" in message:
            parts.append([])
    outputs, errors = (str(use.get(stream)).split(BETWEEN) for stream in ("output", "errors"))
    used: list[UseMessage] = [{**use, "output": one, "errors": other} for one, other in zip_longest(outputs, errors)]
    runs = [_run_of(part, own) for part, own in zip(parts, used, strict=False)]
    return replace(runs[0], further=tuple(runs[1 : further + 1]))


def _run_of(said: list[Said], use: UseMessage) -> Run:
    try:
        ended = [_ended(message["ended"]) for message in said if "ended" in message]
        found = [_found(message["found"]) for message in said if "found" in message]
        return Run(
            events=tuple(_event(message["event"]) for message in said if "event" in message),
            ended=ended[-1] if ended else None,
            seconds=float(use["seconds"]),
            killed=use["killed"],
            status=int(use["status"]),
            left=int(use["left"]),
            output=str(use["output"]),
            errors=str(use["errors"]),
            found=found[-1] if found else None,
            caught=tuple(_caught(said)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"the run reported what makes no sense ({error!r})") from None


def _caught(said: list[Said]) -> Iterator[tuple[int, Raised]]:
    passes = 0
    for message in said:
        passes += "event" in message
        if "caught" in message:
            yield passes, Raised(**message["caught"])


def _found(message: FoundMessage) -> Found:
    calls = tuple(None if call is None else str(call) for call in message["calls"])
    return Found(calls, tuple(map(bool, message["reached"])), str(message["failure"]), int(message["tries"]))


def _event(message: EventMessage) -> Event:
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


def _ended(message: EndedMessage) -> Ended:
    return Ended(
        error=_raised(message["error"]),
        stopped=bool(message["stopped"]),
        executed=frozenset(map(int, message["executed"])),
        executable=frozenset(map(int, message["executable"])),
        rng=str(message["rng"]),
        stops=tuple(message["stops"]),
        arguments=tuple(_tensor(argument) for argument in message["arguments"]),
        results=tuple(_tensor(result) for result in message["results"]),
        state={str(path): _value(value) for path, value in message["state"].items()},
        gradients={str(path): _received(told) for path, told in message["gradients"].items()},
        passes=int(message["passes"]),
        conflicts=tuple(_conflict(conflict) for conflict in message["conflicts"]),
        code=None if message.get("code") is None else int(message["code"]),
        seconds=float(message["seconds"]),
        memory=int(message["memory"]),
        met=bool(message.get("used")),
        sharing=_pairs(message["sharing"]),
        forked=bool(message.get("forked")),
    )


def _pairs(message: list[tuple[str, str]] | None) -> frozenset[tuple[str, str]] | None:
    """Each pair in one order."""
    if message is None:
        return None
    return frozenset((min(pair), max(pair)) for pair in ((str(one), str(other)) for one, other in message))


def _value(message: StateMessage) -> Tensor | str:
    return message if isinstance(message, str) else _tensor(message)


def _conflict(message: ConflictMessage) -> Conflict:
    return Conflict(
        kind=str(message["kind"]),
        by=str(message["by"]),
        saved_by=str(message["saved_by"]),
        write=_spot(message["write"]),
        save=_spot(message["save"]),
        times=int(message["times"]),
        through=_spot(message["through"]),
    )


def _spot(message: SpotMessage | None) -> Spot | None:
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


def _raised(message: ErrorMessage | None) -> Raised | None:
    return None if message is None else Raised(str(message["type"]), str(message["message"]), message["line"])


def _received(told: list[LeafMessage] | ErrorMessage) -> tuple[Leaf, ...] | Raised:
    return tuple(map(_leaf, told)) if isinstance(told, list) else Raised(told["type"], str(told["message"]), None)


def _leaf(message: LeafMessage) -> Leaf:
    gradient = message["gradient"]
    names = tuple(str(name) for name in message["names"])
    return Leaf(names, str(message["key"]), None if gradient is None else _tensor(gradient))


def _tensor(message: TensorMessage) -> Tensor:
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
        strides=tuple(map(int, message["strides"])) if "strides" in message else None,
        layout=str(message.get("layout", "")),
    )
