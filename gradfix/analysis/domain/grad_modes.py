"""What context managers of torch do to the grad mode, and to autocast."""

from __future__ import annotations

from gradfix.analysis.domain.values import Symbol, Value
from gradfix.analysis.facts import Tracked


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


def inside(mode: Tracked | None, outside: Tracked) -> Tracked:
    """The grad mode in what runs under `mode`; what may switch it leaves gradients off that are off."""
    return outside if mode is None or (mode is Tracked.MAYBE and outside is Tracked.NO) else mode


def autocast(value: Value) -> bool | None:
    """Whether a context manager turns autocast on; None when it is another one."""
    known = isinstance(value, Symbol) and value.name.startswith("torch.autocast(")
    return value == Symbol("torch.autocast(True)") if known else None
