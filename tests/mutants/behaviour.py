"""What a text does, run in this process without any part of the check: values, gradients, side effects."""

from __future__ import annotations

import contextlib
import io
import math
import re
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

SECONDS = 10  # of the processor
WAYS = ((0, 1.0), (1, -1.0), (2, 0.1), (3, 10.0))  # seed, factor on the inputs
_GRAD_FN = re.compile(r",\s*grad_fn=<\w+>")  # names the op that made a tensor, and is told by no number
_NUMBER = re.compile(r"-?\d+\.\d*(?:e[-+]\d+)?")
TOLERANCE = 1e-4  # relative; less is another order of summation
EXACT = 1e-9  # the same in float64


@dataclass(slots=True)
class Behaviour:
    """Everything one run shows: tensors by name, and texts."""

    tensors: dict[str, torch.Tensor | None] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def behaviour(text: str, *, call: bool, double: bool = False) -> list[Behaviour]:
    """The behaviour of a text over several seeds; with `call`, of what its `case()` gives, over scaled inputs too.

    With `double`, float64 stands for the default dtype and that of the inputs.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else default)
    try:
        return [_run(text, seed, scale, call=call, double=double) for seed, scale in WAYS]
    finally:
        torch.set_default_dtype(default)


def only_rounds(one: str, other: str, *, call: bool) -> bool:
    """Whether two texts differ in the last digits alone: `w * 1.0001` before `w / w.sum()`."""
    narrow, wide = ([behaviour(text, call=call, double=double) for text in (one, other)] for double in (False, True))
    return all(map(_same_kinds, *narrow)) and differs(*wide, tolerance=EXACT) is None


def _same_kinds(one: Behaviour, other: Behaviour) -> bool:
    shapes = [{n: t is not None and (t.dtype, t.shape) for n, t in run.tensors.items()} for run in (one, other)]
    return one.texts == other.texts and shapes[0] == shapes[1]


def differs(one: list[Behaviour], other: list[Behaviour], tolerance: float = TOLERANCE) -> str | None:
    """How the second behaves differently; None when it doesn't."""
    told = (_differs(a, b, tolerance) for a, b in zip(one, other, strict=True))
    return next((how for how in told if how is not None), None)


def is_of_neither(one: list[Behaviour], other: list[Behaviour], third: list[Behaviour]) -> bool:
    """Whether some run of the third is like neither that of the first nor that of the second."""
    runs = zip(one, other, third, strict=True)
    return any(_differs(a, c) is not None and _differs(b, c) is not None for a, b, c in runs)


def _differs(one: Behaviour, other: Behaviour, tolerance: float = TOLERANCE) -> str | None:
    for name, text in one.texts.items():
        if not _reads_alike(text, other.texts.get(name, "")):
            return f"{name}: {text[-200:]!r} became {other.texts.get(name, '')[-200:]!r}"
    for name, tensor in one.tensors.items():
        if not _alike(tensor, other.tensors.get(name), tolerance):
            return f"{name}: {_short(tensor)} became {_short(other.tensors.get(name))}"
    return None


def _reads_alike(one: str, other: str) -> bool:
    """Whether two texts are the same but for the last digits of numbers."""
    if one == other:
        return True
    pairs = list(zip(map(float, _NUMBER.findall(one)), map(float, _NUMBER.findall(other)), strict=False))
    same_words = _NUMBER.sub("#", one).split() == _NUMBER.sub("#", other).split()
    return same_words and all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in pairs)


def _run(text: str, seed: int, scale: float, *, call: bool, double: bool) -> Behaviour:
    shown, said = Behaviour(), io.StringIO()
    space: dict[str, Any] = {"__name__": "mutant" if call else "__main__"}
    torch.default_generator.manual_seed(seed)
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), _limited():
        warnings.simplefilter("ignore")
        try:
            exec(compile(text, "mutant.py", "exec", dont_inherit=True), space)
            if call:
                _call(space, shown, seed, scale, double=double)
        except BaseException as error:  # a mistake may do anything
            shown.texts["error"] = type(error).__name__
    shown.texts["printed"] = _GRAD_FN.sub("", said.getvalue())
    shown.texts["random numbers"] = str(torch.get_rng_state().tolist()[:32])
    if not call:
        _look(space, shown)
    return shown


def _call(space: dict[str, Any], shown: Behaviour, seed: int, scale: float, *, double: bool) -> None:
    torch.default_generator.manual_seed(seed)
    function, inputs = space["case"]()
    torch.default_generator.manual_seed(seed)
    given = []
    arguments = inputs[0] if isinstance(inputs, list) else inputs
    for argument in arguments:
        if double and isinstance(argument, torch.Tensor) and argument.dtype == torch.float32 and argument.is_leaf:
            argument = argument.detach().double().requires_grad_(argument.requires_grad)
        if isinstance(argument, torch.Tensor) and argument.is_floating_point() and not argument.requires_grad:
            argument = (argument * scale).requires_grad_()
        given.append(argument)
    fed = [a * 1 if isinstance(a, torch.Tensor) and a.requires_grad and a.is_leaf else a for a in given]
    result = function(*fed)
    results = [t for t in _tensors(result) if t.is_floating_point()]
    shown.tensors.update({f"result {n}": t.detach().clone() for n, t in enumerate(results)})
    shown.tensors.update({f"argument {n}": t.detach().clone() for n, t in enumerate(_tensors(fed))})
    tracked = [t for t in results if t.requires_grad]
    if tracked:
        generator = torch.Generator().manual_seed(5)
        torch.autograd.backward(tracked, [torch.randn(t.shape, generator=generator).to(t.dtype) for t in tracked])
    _gradients("argument", given, shown)
    owner = getattr(function, "__self__", function)
    if isinstance(owner, torch.nn.Module):
        _gradients("parameter", list(owner.parameters()), shown)


def _gradients(what: str, leaves: list[Any], shown: Behaviour) -> None:
    for number, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor) and leaf.is_leaf and leaf.requires_grad:
            shown.tensors[f"gradient of {what} {number}"] = None if leaf.grad is None else leaf.grad.clone()


def _look(space: dict[str, Any], shown: Behaviour) -> None:
    """The loss, and the gradients of all leaves that names stand for."""
    for name, value in space.items():
        if isinstance(value, torch.nn.Module):
            _gradients(f"{name}.", list(value.parameters()), shown)
        elif isinstance(value, torch.Tensor) and _is_stale(value):
            shown.texts[name] = "a view that can't be read any more"
        elif isinstance(value, torch.Tensor) and value.is_leaf and value.requires_grad:
            _gradients(name, [value], shown)
        elif isinstance(value, torch.Tensor) and name == "loss":
            shown.tensors[name] = value.detach().clone()


def _is_stale(tensor: torch.Tensor) -> bool:
    """Whether torch refuses to say how a view came about, after a write that it forbids."""
    try:
        return tensor.is_leaf is None
    except RuntimeError:
        return True


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _alike(one: torch.Tensor | None, other: torch.Tensor | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    size = float(one.double().abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
    return bool(
        torch.allclose(one.double(), other.double(), tolerance, max(tolerance * size, tolerance / 100), equal_nan=True)
    )


def _short(tensor: torch.Tensor | None) -> str:
    return "nothing" if tensor is None else f"{tensor.dtype} {str(tensor.tolist())[:80]}"


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
