"""Saved values that were overwritten before backward asked for them: all of one run, not the first alone.

Hooks on saved tensors switch torch's own version check off, so this is one of its own: every saved tensor is kept with
its version and the place that saved it, and compared when backward unpacks it. Nothing is raised; the run goes on.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from gradfix.tracer.messages import ConflictMessage
from gradfix.tracer.spots import Mark, Marker, Spot

SAVED, SILENT = "saved-then-written", "silent-write"


@dataclass
class Conflict:
    """One way in which the run breaks backward."""

    kind: str  # the value of a `HazardKind`, or "memory-overlap", "inference-tensor", "out-argument"
    write: Spot | None  # what overwrote; for a cut, what left the graph; None for code that isn't the user's
    by: str  # the function of torch that did it: "__setitem__", "add_"
    save: Spot | None = None  # what saved the value
    saved_by: str = ""  # the function of torch that saved it: "exp"
    shape: tuple[int, ...] = ()
    dtype: str = ""
    times: int = 1  # how often, in this run
    message: str = ""  # torch's, where it raised one
    through: Spot | None = None  # the call in the file looked at that led to `write` elsewhere, and not to `save`, too

    def as_message(self) -> ConflictMessage:
        """As a JSON object."""
        return {
            "kind": self.kind,
            "write": None if self.write is None else self.write.as_message(),
            "through": None if self.through is None else self.through.as_message(),
            "by": self.by,
            "save": None if self.save is None else self.save.as_message(),
            "saved_by": self.saved_by,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "times": self.times,
            "message": self.message,
        }


@dataclass(frozen=True)
class _Write:
    serial: int
    call: int  # of torch
    before: int  # versions of the tensor it went through
    after: int
    region: tuple[int, int]  # of the storage, in elements
    mark: Mark | None
    by: str


class _Log(list[_Write]):
    """The writes to one storage, for as long as a saved tensor needs them."""


@dataclass(eq=False)
class _Saved:
    """What a graph node holds in the place of a tensor."""

    tensor: torch.Tensor
    version: int
    serial: int
    call: int  # of torch
    mark: Mark | None
    by: str
    log: _Log
    content: torch.Tensor | None = None


@dataclass
class _Found:
    save: Mark | None
    write: Mark | None
    saved: _Saved | None
    by: str
    kind: str
    times: int = 1
    described: tuple[tuple[int, ...], str] = field(default=((), ""))


class Saves:
    """Packs and unpacks saved tensors, and knows who wrote to them in between."""

    def __init__(self, marker: Marker, function: Callable[[], str], *, contents: bool = False) -> None:
        """`function` names the function of torch that is running. With `contents`, silent writes are found, too."""
        self._marker, self._function, self._contents = marker, function, contents
        self._serial = self._call = 0
        self._logs: weakref.WeakValueDictionary[int, _Log] = weakref.WeakValueDictionary()
        self._found: dict[tuple[Any, ...], _Found] = {}

    def next_call(self) -> None:
        """The program calls torch again: what is saved and written from now on belongs to that call."""
        self._call += 1

    def pack(self, tensor: torch.Tensor) -> Any:
        """Keep a tensor with its version. What has no storage of its own is kept as it is."""
        storage = storage_of(tensor)
        if storage is None:
            return tensor
        log = self._logs.get(storage)
        if log is None:
            log = self._logs[storage] = _Log()
        self._serial += 1
        content = tensor.detach().clone() if self._contents else None
        return _Saved(
            tensor, tensor._version, self._serial, self._call, self._marker.mark(), self._function(), log, content
        )

    def unpack(self, packed: Any) -> torch.Tensor:
        """Give the tensor back as it is now, and take note when it isn't what was saved."""
        if not isinstance(packed, _Saved):
            return packed
        tensor = packed.tensor
        later = [write for write in packed.log if write.serial > packed.serial]
        if tensor._version != packed.version:
            through = [write for write in later if write.before >= packed.version and write.after <= tensor._version]
            for write in through or (None,):
                self._note(SAVED, packed, write)
        elif packed.content is not None and _differ(tensor.detach(), packed.content):
            through = [w for w in later if w.call != packed.call and _overlap(w.region, region_of(tensor))]
            for write in through or (None,):
                self._note(SILENT, packed, write)
        return tensor

    def written(self, tensor: torch.Tensor, before: int, function: str, mark: Callable[[], Mark | None]) -> None:
        """Take note of a write through `tensor`, whose version was `before`; only if its storage was saved."""
        storage = storage_of(tensor)
        log = None if storage is None else self._logs.get(storage)
        if log is not None:
            self._serial += 1
            log.append(_Write(self._serial, self._call, before, tensor._version, region_of(tensor), mark(), function))

    def conflicts(self) -> Iterator[Conflict]:
        """Every pair of a saving and an overwriting place, in the order in which backward met them."""
        for found in self._found.values():
            yield Conflict(
                kind=found.kind,
                write=None if found.write is None else found.write.spot(whole=True),
                by=found.by,
                save=None if found.save is None else found.save.spot(),
                saved_by="" if found.saved is None else found.saved.by,
                shape=found.described[0],
                dtype=found.described[1],
                times=found.times,
                through=through_of(found.write, found.save),
            )

    def _note(self, kind: str, packed: _Saved, write: _Write | None) -> None:
        mark = None if write is None else write.mark
        key = (kind, *place_of(packed.mark), *place_of(mark), packed.by)
        found = self._found.get(key)
        if found is not None:
            found.times += 1
            return
        described = (tuple(packed.tensor.shape), str(packed.tensor.dtype).removeprefix("torch."))
        self._found[key] = _Found(packed.mark, mark, packed, "" if write is None else write.by, kind, 1, described)


def place_of(mark: Mark | None) -> tuple[Any, ...]:
    """Equal for marks of one place, come to by one call of the file looked at."""
    return (None, 0, None) if mark is None else (mark.code, mark.offset, mark.through and place_of(mark.through))


def through_of(write: Mark | None, save: Mark | None = None) -> Spot | None:
    """The call in the file looked at that led to `write` elsewhere, and not to `save`, too."""
    call = None if write is None else write.through
    return None if call is None or (save is not None and save.through == call) else call.spot(whole=True)


def storage_of(tensor: torch.Tensor) -> int | None:
    """Names the storage; None for wrappers and layouts that have none."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except RuntimeError:
        return None


def region_of(tensor: torch.Tensor) -> tuple[int, int]:
    """First element of the storage that the tensor reaches, and the one past its last."""
    start = tensor.storage_offset()
    if tensor.numel() == 0:
        return start, start
    return start, start + 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride()))


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    return not bool(((one == other) | ((one != one) & (other != other))).all())


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
