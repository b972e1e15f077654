"""What context managers of torch do to the grad mode, and to autocast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradfix.analysis.domain.values import Function, Symbol, Value
from gradfix.analysis.facts import Tracked

MODES = frozenset({"torch.no_grad", "torch.enable_grad", "torch.inference_mode", "torch.set_grad_enabled"})
_BARE = {"torch.no_grad": Tracked.NO, "torch.inference_mode": Tracked.NO, "torch.enable_grad": Tracked.YES}


def grad_mode(value: Value) -> Tracked | None:
    """The grad mode a context manager sets; None when it sets none."""
    if not isinstance(value, Symbol) or not value.name.startswith("torch.") or "(" not in value.name:
        return None
    if autocast(value) is not None:
        return None
    argument = value.name[value.name.index("(") + 1 : -1]
    if argument not in ("True", "False"):
        return Tracked.MAYBE
    return Tracked.YES if argument == "True" else Tracked.NO


def mode_under(decorator: Value) -> Tracked | None:
    """The grad mode of a function under it: `@torch.no_grad()`, and bare `@torch.no_grad`."""
    bare = _BARE.get(decorator.name) if isinstance(decorator, Symbol) else None
    return grad_mode(decorator) if bare is None else bare


def under(callee: Value, args: Sequence[Value]) -> Value | None:
    """The function of this file that `torch.no_grad()(f)` gives; None for another call."""
    mode = mode_under(callee)
    if mode is None or len(args) != 1 or not isinstance(function := args[0], Function):
        return None
    return function if function.grad is not None else replace(function, grad=mode)


def inside(mode: Tracked | None, outside: Tracked) -> Tracked:
    """The grad mode in what runs under `mode`; what may switch it leaves gradients off that are off."""
    return outside if mode is None or (mode is Tracked.MAYBE and outside is Tracked.NO) else mode


def autocast(value: Value) -> bool | None:
    """Whether a context manager turns autocast on; None when it is another one."""
    known = isinstance(value, Symbol) and value.name.startswith("torch.autocast(")
    return value == Symbol("torch.autocast(True)") if known else None
