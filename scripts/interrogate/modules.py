"""What calling a module of torch.nn saves: its input, its output, its parameters; in train and in eval mode."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from interrogate import samples
from interrogate.probe import Sample, observe
from interrogate.rows import Seen, build

CONTAINERS = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Container"}
# class: constructor arguments ; inputs | ... (names as in recipes.py)
RECIPES_FILE = "module_recipes.txt"


def rows(own: Mapping[str, list[tuple[Sample, Sample]]]) -> Iterator[tuple[str, Any]]:
    """`module ReLU` -> row, `module ReLU inplace` -> row of the writing form; None for a class that no sample ran."""
    for name in sorted(dir(nn)):
        cls = getattr(nn, name)
        if not inspect.isclass(cls) or not issubclass(cls, nn.Module) or name.startswith("_") or name in CONTAINERS:
            continue
        plain, writing = [], []
        parameters = {len(list(module.parameters())) > 0 for module, *_ in _built(cls, own.get(name, []))}
        for module, constructor, inputs in _built(cls, own.get(name, [])):
            seen = list(_seen(cls, module, constructor, inputs))
            (writing if constructor.kwargs.get("inplace") else plain).extend(seen)
        accepts_inplace = "inplace" in inspect.signature(cls).parameters
        if not plain:
            yield f"module {name}", None
            continue
        extra = {"learns": "yes" if parameters == {True} else "no" if parameters == {False} else "maybe"}
        yield (
            f"module {name}",
            {"inplace": accepts_inplace} | extra | {"parameters": _forward_names(cls)} | build(plain),
        )
        if writing:
            yield f"module {name} inplace", {"parameters": _forward_names(cls)} | build(writing)


def torch_samples() -> dict[str, list[tuple[Sample, Sample]]]:
    """(constructor arguments, forward arguments) for each class, from torch.testing; with `inplace=True` forms added."""
    from torch.testing._internal.common_modules import module_db

    found: dict[str, list[tuple[Sample, Sample]]] = {}
    for info in module_db:
        cls = info.module_cls
        if cls.__module__.partition(".nn.")[0] != "torch" or "quantiz" in cls.__module__:
            continue
        torch.manual_seed(11)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = info.module_inputs_func(info, "cpu", torch.float64, False, training=True)
        for given in inputs:
            if given.forward_input is None:
                continue
            constructor = Sample(given.constructor_input.args, given.constructor_input.kwargs)
            forward = Sample(given.forward_input.args, given.forward_input.kwargs)
            found.setdefault(cls.__name__, []).append((constructor, forward))
    return found


def _built(cls: type[nn.Module], calls: list[tuple[Sample, Sample]]) -> Iterator[tuple[nn.Module, Sample, Sample]]:
    forms = [({}, "inplace" in inspect.signature(cls).parameters)]
    for constructor, inputs in calls:
        for extra in [{}, {"inplace": True}] if forms[0][1] else [{}]:
            kwargs = {key: value for key, value in constructor.kwargs.items() if key not in ("device", "dtype")} | extra
            torch.manual_seed(3)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    module = cls(*constructor.args, **kwargs).double()
                    if "Lazy" in cls.__name__:  # its parameters get their shapes from a first call
                        module(*inputs.args, **inputs.kwargs)
            except Exception:
                continue
            yield module, Sample(constructor.args, kwargs), inputs


def _seen(cls: type[nn.Module], module: nn.Module, constructor: Sample, inputs: Sample) -> Iterator[Seen]:
    named = dict(module.named_parameters())
    positional = _forward_names(cls)[: len(inputs.args)]
    if len(positional) < len(inputs.args):
        positional = [f"arg{at}" for at in range(len(inputs.args))]
    for training in (True, False):
        module.train(training)
        call = _functional(module, list(named))
        given = Sample(inputs.args, {**inputs.kwargs, "weights": [value.detach() for value in named.values()]})
        shown = observe(call, given, positional)
        if shown is not None:
            kinds = _constructor_kinds(cls, constructor) | {"training": str(training).lower()}
            yield Seen(kinds, shown, [])


def _functional(module: nn.Module, names: list[str]) -> Callable[..., Any]:
    def call(*args: Any, weights: list[torch.Tensor], **kwargs: Any) -> Any:
        if not names:
            return module(*args, **kwargs)
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), args, kwargs)

    return call


def _forward_names(cls: type[nn.Module]) -> list[str]:
    parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
    return [one.name for one in parameters if one.kind is not one.VAR_KEYWORD]


def _constructor_kinds(cls: type[nn.Module], constructor: Sample) -> dict[str, str]:
    try:
        bound = inspect.signature(cls).bind(*constructor.args, **constructor.kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    return {name: samples.kind(value) for name, value in bound.arguments.items()}
