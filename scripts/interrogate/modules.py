"""What calling a module of torch.nn saves: its input, its output, its parameters; in train and in eval mode."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interrogate import recipes, signatures
from interrogate.calls import Sample, kind, seed
from interrogate.probe import observe
from interrogate.rows import Row, Seen, build
from interrogate.samples import is_usable

CONTAINERS = ("Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Container")
RECIPES = Path(__file__).with_name("module_recipes.txt")
WEIGHTS = "weights"  # stands for all parameters of the module


@dataclass(frozen=True, slots=True)
class Layer:
    """A module that was built, and how."""

    module: nn.Module
    constructor: Sample
    inputs: Sample


def rows(own: Mapping[str, Sequence[tuple[Sample, Sample]]]) -> Iterator[tuple[str, Any]]:
    """`module ReLU` -> row, `module ReLU inplace` -> row of the writing form; null for a class no sample ran."""
    handwritten, alone = read_recipes()
    for name in sorted(dir(nn)):
        cls = getattr(nn, name)
        if not inspect.isclass(cls) or not issubclass(cls, nn.Module) or name.startswith("_") or name in CONTAINERS:
            continue
        calls = () if name in alone else own.get(name, ())
        layers = list(_built(cls, [*calls, *handwritten.get(name, ())]))
        plain = [layer for layer in layers if not layer.constructor.kwargs.get("inplace")]
        writing = [layer for layer in layers if layer.constructor.kwargs.get("inplace")]
        yield f"module {name}", _row(cls, plain)
        if writing and (row := _row(cls, writing)):
            yield f"module {name} inplace", row


def _row(cls: type[nn.Module], layers: Sequence[Layer]) -> Row | None:
    seen = [one for layer in layers for one in _seen(cls, layer)]
    if not seen:
        return None
    learns = {bool(list(layer.module.parameters())) for layer in layers}
    return {
        "inplace": "inplace" in inspect.signature(cls).parameters,
        "learns": "maybe" if len(learns) > 1 else "yes" if True in learns else "no",
        "constructor": signatures.described([_constructor_parameters(cls)]),
        "overloads": signatures.described([_forward_parameters(cls)]),
    } | build(seen)


def read_recipes() -> tuple[dict[str, list[tuple[Sample, Sample]]], set[str]]:
    """(constructor arguments, forward arguments) by class name; and the classes that want no other calls."""
    found: dict[str, list[tuple[Sample, Sample]]] = {}
    alone = set()
    for line in RECIPES.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        names, _, calls = line.partition(": ")
        pairs = [recipes.build([part.strip() for part in call.split(";")]) for call in calls.split(" | ")]
        for name in names.rstrip("!").split():
            found.setdefault(name, []).extend((constructor, inputs) for constructor, inputs in pairs)
        if names.endswith("!"):
            alone |= set(names.rstrip("!").split())
    return found, alone


def torch_samples() -> dict[str, list[tuple[Sample, Sample]]]:
    """(constructor arguments, forward arguments) by class name, from torch.testing."""
    from torch.testing._internal.common_modules import module_db

    found: dict[str, list[tuple[Sample, Sample]]] = {}
    for info in module_db:
        cls: type[nn.Module] = info.module_cls
        if getattr(nn, cls.__name__, None) is not cls:
            continue
        seed(11)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = info.module_inputs_func(info, "cpu", torch.float64, False, training=True)
        for given in inputs:
            if given.forward_input is not None:
                constructor = Sample(given.constructor_input.args, given.constructor_input.kwargs)
                forward = Sample(given.forward_input.args, given.forward_input.kwargs)
                if is_usable(forward):
                    found.setdefault(cls.__name__, []).append((constructor, forward))
    return found


def _built(cls: type[nn.Module], calls: Sequence[tuple[Sample, Sample]]) -> Iterator[Layer]:
    """Each call as given and, where the class takes it, with `inplace=True`."""
    forms: list[dict[str, Any]] = [{}, {"inplace": True}] if "inplace" in inspect.signature(cls).parameters else [{}]
    for constructor, inputs in calls:
        for extra in forms:
            kwargs = {key: value for key, value in constructor.kwargs.items() if key not in ("device", "dtype")} | extra
            seed(3)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    module = cls(*constructor.args, **kwargs).double()
                    if "Lazy" in cls.__name__:  # its parameters get their shapes from a first call
                        module(*inputs.args, **inputs.kwargs)
            except Exception:  # torch.testing's arguments need not fit every form
                continue
            yield Layer(module, Sample(constructor.args, kwargs), inputs)
            if issubclass(cls, nn.RNNBase):  # another kernel computes in single precision, and keeps its output
                single = Sample(_single(inputs.args), _single(inputs.kwargs))
                yield Layer(copy.deepcopy(module).float(), Sample(constructor.args, kwargs), single)


def _single(value: Any) -> Any:
    """The same tensors in single precision."""
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: _single(item) for key, item in value.items()}
    return type(value)(map(_single, value)) if type(value) in (list, tuple) else value


def _seen(cls: type[nn.Module], layer: Layer) -> Iterator[Seen]:
    named = dict(layer.module.named_parameters())
    bound = signatures.bind([_forward_parameters(cls)], layer.inputs.args, layer.inputs.kwargs)
    weights = [value.detach() for value in named.values()]
    given = Sample(layer.inputs.args, {**layer.inputs.kwargs, WEIGHTS: weights})
    for training in (True, False):
        layer.module.train(training)
        shown = observe(_functional(layer.module, list(named)), given, bound.positional, (WEIGHTS,))
        if shown is not None:
            constructed = signatures.bind(
                [_constructor_parameters(cls)], layer.constructor.args, layer.constructor.kwargs
            )
            kinds = {name: kind(value) for name, value in {**bound.values, **constructed.values}.items()}
            yield Seen(kinds | {"training": kind(training)}, shown, [])


def _functional(module: nn.Module, names: Sequence[str]) -> Callable[..., Any]:
    def call(*args: Any, weights: list[torch.Tensor], **kwargs: Any) -> Any:
        if not names:
            return module(*args, **kwargs)
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), args, kwargs)

    return call


def _forward_parameters(cls: type[nn.Module]) -> tuple[signatures.Parameter, ...]:
    (parameters,) = signatures.from_inspect(cls.forward) or [()]
    return parameters[1:]


def _constructor_parameters(cls: type[nn.Module]) -> tuple[signatures.Parameter, ...]:
    """Of the class, or of its base where it passes everything on (`LSTM` fills in the `mode` of `RNNBase`)."""
    (parameters,) = signatures.from_inspect(cls) or [()]
    if parameters and parameters[0].type == signatures.VARARGS:
        (parameters,) = signatures.from_inspect(cls.__mro__[1]) or [()]
    return tuple(parameter for parameter in parameters if parameter.name != "mode" or "RNN" not in str(cls.__mro__))
