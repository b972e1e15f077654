"""Recorded calls: the arguments of a function as a real run had them, in a file that another process replays.

A call is two files: `NAME.json` says of which file and function, `NAME.pt` holds the arguments:

    {"format": 2, "storages": [uint8 tensors], "tensors": [specs], "payload": text, "state": {…}}

Every storage is there once, so that tensors that share memory still do; a spec says how a tensor lies in its storage
and what autograd made of it. The payload is a pickle of `(args, kwargs)` with tensors by number, as text (torch 2.4
loads no bytes). State: grad mode, default dtype, the generators of torch and Python. Unpickling runs code: load only
behind walls.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

FORMAT = 2
_BYTES = "latin-1"  # a letter a byte
MOST_BYTES = 64 << 20  # of all storages of a call


class CallTooLargeError(ValueError):
    """The arguments hold more than `MOST_BYTES`."""


@dataclass(frozen=True)
class Spec:
    """How one tensor lies in its storage."""

    storage: int
    dtype: str  # "float32"
    offset: int  # in elements, as the stride
    size: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool
    is_leaf: bool
    is_parameter: bool


def save(name: str, file: str, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Write `NAME.pt` and then `NAME.json`. `file` is relative to the project, `function` a dotted name in it.

    Raises `CallTooLargeError`, and whatever pickling the arguments raises.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump((args, kwargs))
    state = {
        "grad": torch.is_grad_enabled(),
        "dtype": _name(torch.get_default_dtype()),
        "torch": torch.get_rng_state(),
        "random": _text(pickle.dumps(random.getstate())),
    }
    content = {
        "format": FORMAT,
        "storages": pickler.storages,
        "tensors": [asdict(spec) for spec in pickler.specs],
        "payload": _text(buffer.getvalue()),
        "state": state,
    }
    torch.save(content, f"{name}.pt")
    with open(f"{name}.tmp", "w", encoding="utf-8") as handle:
        json.dump({"format": FORMAT, "file": file, "function": function}, handle)
    os.replace(f"{name}.tmp", f"{name}.json")


def load(
    path: str, module: str, tracked: Callable[[torch.Tensor, str], torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """The arguments in the `.pt` file `path`, and the state. Tensors that share a storage do so again.

    What the recording process had defined in `__main__` is looked for in `module`. A tensor that was the result of an
    operation comes from `tracked`, which gets a leaf with what it is called and gives back a result of it; those that
    share a storage are views of one such result. Raises `ValueError` for another format.
    """
    content = torch.load(path, weights_only=True)
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} has format {content.get('format')}, this is {FORMAT}")
    specs = [Spec(**{**s, "size": tuple(s["size"]), "stride": tuple(s["stride"])}) for s in content["tensors"]]
    builder = _Builder(content["storages"], specs, tracked)
    args, kwargs = _Unpickler(content["payload"].encode(_BYTES), module, builder).load()
    return args, kwargs, content["state"]


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer)
        self.storages: list[torch.Tensor] = []
        self.specs: list[Spec] = []
        self._numbers: dict[int, int] = {}
        self._tensors: dict[int, tuple[int, torch.Tensor]] = {}

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            return None
        if id(value) not in self._tensors:
            self._tensors[id(value)] = (len(self.specs), value)
            self.specs.append(self._spec(value))
        return self._tensors[id(value)][0]

    def _spec(self, tensor: torch.Tensor) -> Spec:
        plain = tensor.detach()
        plain = plain if plain.device.type == "cpu" else plain.cpu()
        storage = plain.untyped_storage()
        key = int(tensor.untyped_storage()._cdata)
        if key not in self._numbers:
            if sum(map(len, self.storages)) + storage.nbytes() > MOST_BYTES:
                raise CallTooLargeError(f"the arguments hold more than {MOST_BYTES >> 20} MiB")
            self._numbers[key] = len(self.storages)
            self.storages.append(torch.empty(0, dtype=torch.uint8).set_(storage.clone()))
        return Spec(
            storage=self._numbers[key],
            dtype=_name(plain.dtype),
            offset=plain.storage_offset(),
            size=tuple(plain.shape),
            stride=tuple(plain.stride()),
            requires_grad=tensor.requires_grad,
            is_leaf=tensor.is_leaf,
            is_parameter=isinstance(tensor, torch.nn.Parameter),
        )


class _Unpickler(pickle.Unpickler):
    def __init__(self, payload: bytes, module: str, builder: _Builder) -> None:
        super().__init__(io.BytesIO(payload))
        self._module, self._builder = module, builder

    def persistent_load(self, number: Any) -> torch.Tensor:
        return self._builder.tensor(int(number))

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(self._module if module == "__main__" else module, name)


class _Builder:
    """Makes the tensors of a loaded call, each once."""

    def __init__(
        self, storages: list[torch.Tensor], specs: list[Spec], tracked: Callable[[torch.Tensor, str], torch.Tensor]
    ) -> None:
        self._storages, self._specs, self._tracked = storages, specs, tracked
        self._made: dict[int, torch.Tensor] = {}
        self._results: dict[tuple[int, str], torch.Tensor] = {}

    def tensor(self, number: int) -> torch.Tensor:
        if number not in self._made:
            self._made[number] = self._make(self._specs[number])
        return self._made[number]

    def _make(self, spec: Spec) -> torch.Tensor:
        if spec.requires_grad and not spec.is_leaf:
            return self._result(spec).as_strided(spec.size, spec.stride, spec.offset)
        plain = self._flat(spec).as_strided(spec.size, spec.stride, spec.offset)
        if spec.is_parameter:
            return torch.nn.Parameter(plain, requires_grad=spec.requires_grad)
        return plain.detach().requires_grad_() if spec.requires_grad else plain

    def _result(self, spec: Spec) -> torch.Tensor:
        """The whole storage as the result of an operation, shared by all tensors of that storage and dtype."""
        key = (spec.storage, spec.dtype)
        if key not in self._results:
            leaf = self._flat(spec).clone().requires_grad_()
            self._results[key] = self._tracked(leaf, f"storage {spec.storage} of the call")
        return self._results[key]

    def _flat(self, spec: Spec) -> torch.Tensor:
        return self._storages[spec.storage].view(getattr(torch, spec.dtype))


def _text(data: bytes) -> str:
    return data.decode(_BYTES)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
