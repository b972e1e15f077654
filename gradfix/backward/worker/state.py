"""What a run leaves behind for those who come after: values of the module, its classes and functions, and of objects.

Each tensor, number and text is told under the expression that leads to it. Containers are walked, and objects of any
class but those of the standard library and of torch, of which only modules and optimizers are; functions by their
defaults, attributes and closures.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import functools
import itertools
import os
import queue
import random
import struct
import sys
import types
import zlib
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import Any

import torch

from gradfix.backward.worker.messages import GRADIENT, IDENTITY, MORE, UNSHARED, StateMessage
from gradfix.backward.worker.moving import moving_parts
from gradfix.backward.worker.outside import Outside
from gradfix.backward.worker.results import STANDARD, answers_itself
from gradfix.backward.worker.tensors import Wire, plain

_MOST = 2000  # values told of one run
_DEEPEST = 8  # steps from the first name to a value
_MANY = 64  # plain items of a container, beyond which it is told as one
_MOST_ITEMS = 100_000  # … if it has no more
_MOST_BYTES = 16 * 1024 * 1024  # of tensors that are read; of those beyond, only type and shape are told
_PLAIN = (bool, int, str, bytes, complex, type(None))
_OPEN = (
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
    torch.distributions.Distribution,
    torch.utils.data.Dataset,
    types.SimpleNamespace,
    queue.Queue,
    BaseException,
)
_SILENT = (types.ModuleType, types.BuiltinFunctionType, types.CodeType, property, classmethod, staticmethod)
_HELD = ("_parameters", "_buffers", "_modules")
_COMPILERS = "_torchdynamo_"  # begins the names under which torch notes things, addresses too, at compiled functions
_SEQUENCES = (list, tuple, collections.deque, ItemsView, ValuesView)
Root = tuple[str, Any]  # an expression and its value


class State:
    """Collects values, each under the first expression that leads to it."""

    def __init__(self, wire: Wire | None) -> None:
        """Without a `wire` no content of tensors is told, but which they are."""
        self.found: dict[str, StateMessage] = {}
        self.graphs: dict[str, torch.Tensor] = {}  # tensors with a graph that were met
        self.tensors: dict[str, torch.Tensor] = {}
        self.leaves: dict[str, torch.Tensor] = {}  # leaves that ask for gradients
        self._versions: dict[int, int] = {}  # of what has a graph, as it was met
        self.gradients = True  # those of leaves count
        self._left_out = False
        self._texts = False  # whole texts are told
        self._wire = wire
        self._known: frozenset[int] = frozenset()
        self._seen: dict[int, Any] = {}
        self._bytes = 0

    def walk(self, roots: Iterable[Root], known: Iterable[torch.Tensor] = ()) -> None:
        """Tell what the roots lead to, what is near before what is far. The `known` tensors are told elsewhere."""
        self._known = frozenset(map(id, known))
        level = list(roots)
        for _ in range(_DEEPEST):
            if len(self.found) >= _MOST or not level:
                break
            near, level = level, []
            for path, value in near:
                level += self._told(path, value)
                self._left_out = self._left_out or len(level) > _MOST
                del level[_MOST:]
        if self._left_out or level:
            self.found[MORE] = ""

    def outside(self, outside: Outside) -> None:
        """Tell what a run has left in its directory and the like."""
        self.found.update(outside.told())
        self._texts = True
        with contextlib.suppress(Exception):
            self.walk(outside.files())
        self._texts = False

    def modes(self) -> None:
        """Tell what torch does by default from now on."""
        self.found["torch.is_grad_enabled()"] = str(torch.is_grad_enabled())
        self.found["torch.get_default_dtype()"] = str(torch.get_default_dtype())
        deterministic = torch.are_deterministic_algorithms_enabled()
        self.found["torch.are_deterministic_algorithms_enabled()"] = str(deterministic)
        self.found["torch.is_anomaly_enabled()"] = str(torch.is_anomaly_enabled())

    def new(self, old: State) -> dict[str, torch.Tensor]:
        """Tensors with a graph that weren't met before, or were written to since, each once."""
        met = {id(tensor): path for path, tensor in reversed(self.graphs.items())}
        unmet = (path for key, path in met.items() if old._versions.get(key) != self._versions[key])
        return {path: self.graphs[path] for path in sorted(unmet, key=list(self.graphs).index)}

    def data(self, old: State) -> list[torch.Tensor]:
        """Tensors that can't have a graph and weren't met before, or were written to since. `old` tells no content."""
        fresh = ((path, tensor) for path, tensor in self.tensors.items() if not tensor.requires_grad)
        return [tensor for path, tensor in fresh if old.found.get(path) != _version_of(tensor)]

    def replaced(self, old: State) -> None:
        """Tell leaves that aren't those which stood there before: who holds those holds others now."""
        for path, leaf in self.leaves.items():
            if old.leaves.get(path, leaf) is not leaf:
                self.found[path + IDENTITY] = "another one"

    def _told(self, path: str, value: Any) -> list[Root]:
        """What a value leads to. Objects of the user's own may refuse to be looked at, or to be walked."""
        if len(self.found) >= _MOST:
            self._left_out = True
            return []
        if answers_itself(value):
            self.found[path] = type(value).__qualname__
            return []
        with contextlib.suppress(Exception):
            return self._tell(path, value)
        return []

    def _tell(self, path: str, value: Any) -> list[Root]:
        if isinstance(value, torch.Tensor):
            return self._tell_tensor(path, value)
        if isinstance(value, _PLAIN):
            text = value if self._texts and isinstance(value, str) else repr(value)
            self.found[path] = (
                text if self._texts or len(text) <= 200 else f"{text[:200]} … {zlib.crc32(text.encode()):x}"
            )
        elif isinstance(value, float):
            self.found[path] = _number(value)
        elif _is_array(value):
            return self._tell_array(path, value)
        elif (drawn := _generator_state(value)) is not None:
            self.found[path] = f"generator in state {zlib.crc32(repr(drawn).encode()):x}"
        elif not isinstance(value, _SILENT) and id(value) not in self._seen:
            self._seen[id(value)] = value
            return list(itertools.islice(self._inside(path, value), _MOST + 1))
        return []

    def _tell_tensor(self, path: str, tensor: torch.Tensor) -> list[Root]:
        self.tensors[path] = tensor
        with torch._C.DisableTorchFunction():
            if tensor.grad_fn is not None:
                self.graphs[path] = tensor
                self._versions[id(tensor)] = tensor._version
            elif tensor.requires_grad:
                self.leaves[path] = tensor
            if id(tensor) in self._known:
                self.found[path] = "a tensor"
            elif self._wire is None:
                self._seen[id(tensor)] = tensor  # as long as it lives, no other has its id
                self.found[path] = _version_of(tensor)
            elif self._bytes + tensor.numel() * tensor.element_size() > _MOST_BYTES:
                self.found[path] = f"{tensor.dtype} {list(tensor.shape)}"
            else:
                self._bytes += tensor.numel() * tensor.element_size()
                self.found[path] = self._wire.tensor(tensor)
            gradient = tensor.grad if self.gradients and tensor.is_leaf and tensor.requires_grad else None
        return [] if gradient is None else [(path + GRADIENT, gradient)]

    def _tell_array(self, path: str, value: Any) -> list[Root]:
        try:
            return [(path, torch.tensor(value))]
        except (TypeError, ValueError, RuntimeError):
            self.found[path] = f"{value!r:.200}"
            return []

    def _inside(self, path: str, value: Any) -> Iterator[Root]:
        if isinstance(value, (Mapping, *_SEQUENCES)) and len(value) > _MANY and (told := _as_one(value)):
            self.found[path] = told
        elif isinstance(value, Mapping):
            self.found[path] = f"{type(value).__name__} of {len(value)}"
            for number, (key, item) in enumerate(list(itertools.islice(value.items(), _MOST + 1))):
                yield f"{path}[{key!r:.80}]" if isinstance(key, (*_PLAIN, float)) else f"{path}[#{number}]", item
        elif isinstance(value, _SEQUENCES):
            self.found[path] = f"{type(value).__name__} of {len(value)}"
            for number, item in enumerate(list(itertools.islice(value, _MOST + 1))):
                yield f"{path}[{number}]", item
        elif isinstance(value, (set, frozenset)):
            items = list(value) if len(value) <= _MOST else []  # which come first isn't the same in each run
            texts = sorted(repr(item) for item in items if isinstance(item, (*_PLAIN, float)))
            self.found[path] = f"{type(value).__name__} of {len(value)}: {', '.join(texts)}"[:400]
            tensors = sorted((item for item in items if isinstance(item, torch.Tensor)), key=_rank)
            yield from ((f"{path}{{{number}}}", item) for number, item in enumerate(tensors))
        elif isinstance(value, functools.partial):
            yield from ((f"{path}.{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
        elif (moving := moving_parts(value)) is not None:
            self.found[path], parts = moving
            yield from ((f"{path}{name}", item) for name, item in parts)
            return
        if isinstance(value, types.MethodType):
            yield f"{path}.__self__", value.__self__
        elif isinstance(value, types.FunctionType):
            yield from _of_function(path, value)
        elif isinstance(value, type):
            if not _is_closed(value):
                yield from _attributes(path, value)
        elif isinstance(value, torch.nn.Module):
            self.found[path] = type(value).__qualname__
            yield from _of_module(path, value)
        elif isinstance(value, _OPEN) or not _is_closed(type(value)):
            self.found.setdefault(path, type(value).__qualname__)
            yield from _attributes(path, value)


def shared_by(module: types.ModuleType, names: Iterable[str]) -> list[Root]:
    """What calls of the module share: the values of these names, and its own classes and functions."""
    held = vars(module)
    roots = [(name, held[name]) for name in names if name in held]
    for name, value in list(held.items()):
        kind = type(value)  # what an object says it is may be anything, or raise
        own = issubclass(kind, (type, types.FunctionType)) and value.__module__ == module.__name__
        if own and not name.startswith("__"):
            roots.append((name, value))
    return roots


def trained_in(module: types.ModuleType, names: Iterable[str]) -> list[Root]:
    """The values of these names that a program is about: modules, optimizers and what steps with those."""
    kinds = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    found = ((name, vars(module).get(name)) for name in names)
    return [(name, value) for name, value in found if issubclass(type(value), kinds)]


def data_in(module: types.ModuleType, names: Iterable[str]) -> list[Root]:
    """The values of these names, but for what isn't data."""
    held = vars(module)
    data = (torch.Tensor, float, *_PLAIN, *_SEQUENCES, dict)
    return [(name, held[name]) for name in names if issubclass(type(held.get(name)), data)]


def gradients_in(module: types.ModuleType) -> list[Root]:
    """What leaves that the module holds under plain names have come to."""
    leaves = ((n, v) for n, v in list(vars(module).items()) if issubclass(type(v), torch.Tensor) and v.is_leaf)
    with torch._C.DisableTorchFunction():
        return [(name + GRADIENT, leaf.grad) for name, leaf in leaves if leaf.requires_grad and leaf.grad is not None]


def module_at(path: str, program: bool) -> types.ModuleType | None:
    """The module that was made of the file."""
    if program:
        return sys.modules.get("__main__")
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        named_alike = isinstance(file, str) and os.path.basename(file) == os.path.basename(path)
        if named_alike and os.path.realpath(str(file)) == os.path.realpath(path):
            return module
    return None


def _of_module(path: str, module: torch.nn.Module) -> Iterator[Root]:
    """Parameters, buffers and modules inside; of the user's own classes also what else they hold."""
    for held in _HELD:
        yield from ((f"{path}.{name}", item) for name, item in list(vars(module).get(held, {}).items()))
    if _is_closed(type(module)):  # how it was set up is no state
        yield f"{path}.training", module.training
        return
    for inner, item in _attributes(path, module):
        if inner.rpartition(".")[2] not in _HELD:
            yield inner, item


def _attributes(path: str, value: Any) -> Iterator[Root]:
    slots = itertools.chain.from_iterable(_slots(kind) for kind in type(value).__mro__)
    own = list(getattr(value, "__dict__", {}).items())
    for name, item in itertools.chain(own, ((name, getattr(value, name, None)) for name in slots)):
        if not name.startswith("__"):
            yield f"{path}.{name}", item


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ()) if not _is_closed(kind) else ()
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _of_function(path: str, function: types.FunctionType) -> Iterator[Root]:
    if _is_standard(function.__module__):
        return
    yield f"{path}.__defaults__", function.__defaults__ or ()
    yield f"{path}.__kwdefaults__", function.__kwdefaults__ or {}
    for name, item in list(vars(function).items()):
        if not name.startswith(_COMPILERS):
            yield f"{path}.{name}", item
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield f"{path}{UNSHARED}[{name!r}]", cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _is_closed(kind: type) -> bool:
    return _is_standard(kind.__module__)


def _is_standard(module: object) -> bool:
    return str(module).partition(".")[0] in STANDARD


def _version_of(tensor: torch.Tensor) -> str:
    return f"{id(tensor)} in version {tensor._version}"


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def _as_one(value: Mapping[Any, Any] | Collection[Any]) -> str | None:
    """Many numbers and texts as one, a table say; None where there is anything else, or floats, that may be rounded."""
    items = [*value, *value.values()] if isinstance(value, Mapping) else value
    size = f"{type(value).__name__} of {len(value)}"
    if len(value) > _MOST_ITEMS:
        return size if all(type(item) in _PLAIN for item in itertools.islice(items, _MOST)) else None
    return f"{size}: {zlib.crc32(repr(value).encode()):x}" if all(type(item) in _PLAIN for item in items) else None


def _rank(tensor: torch.Tensor) -> tuple[str, float]:
    """Puts the tensors of a set in an order: it has none of its own."""
    flat = plain(tensor)
    return f"{tensor.dtype}{list(tensor.shape)}", 0.0 if flat is None else float(flat.to(torch.float64).sum())


def _generator_state(value: Any) -> object:
    """What a generator of random numbers will give; None for anything else."""
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().tolist())
    if isinstance(value, random.Random):
        return value.getstate()
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.random.Generator):
        return value.bit_generator.state
    return value.get_state(legacy=False) if isinstance(value, numpy.random.RandomState) else None


def _number(value: float) -> StateMessage:
    data = base64.b64encode(struct.pack("<d", value)).decode("ascii")
    return {"dtype": "float", "shape": [], "requires_grad": False, "code": "d", "data": data}
