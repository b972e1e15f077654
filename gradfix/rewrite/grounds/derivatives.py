"""Writes that stay wrong in a tensor of their own: torch has no derivative for them, or they change no memory."""

from __future__ import annotations

from gradfix import torch_ops
from gradfix.analysis.facts import ObstacleKind, Write
from gradfix.findings import HazardKind, Refusal, RefusalKind
from gradfix.torch_ops import Gradient

_RESHAPING = frozenset("squeeze_ unsqueeze_ t_ transpose_ swapaxes_ swapdims_".split())
_OF_VIEWS = (HazardKind.LEAF_VIEW_WRITTEN, HazardKind.MULTI_VIEW_WRITTEN, HazardKind.NO_GRAD_VIEW_WRITTEN)


def without_derivative(write: Write) -> Refusal | None:
    """Why nothing is won where backward raises for the operation itself, in place or not."""
    name = (write.method or write.operator or "").rstrip("_=")
    if write.method is None:
        operation = torch_ops.operator(name, left_tensor=True, right_tensor=write.written.tensor is not None)
    else:
        operation = torch_ops.method(write.method)
    off = any(obstacle.kind is ObstacleKind.GRADIENTS_OFF for obstacle in write.obstacles)
    if operation is None or operation.gradient is not Gradient.RAISES or off:
        return None
    return Refusal(RefusalKind.NO_FORM, f"torch has no derivative for `{name}`: backward would raise for it instead")


def reshaped_view(write: Write) -> Refusal | None:
    """Why `v.t_()` isn't replayed on the base of `v`: the view gets another shape, and its base keeps what it holds."""
    name = write.method or ""
    views = any(o.replay is not None or o.kind is ObstacleKind.BASE_READ for o in write.obstacles)
    if name not in _RESHAPING or not (views or any(hazard.kind in _OF_VIEWS for hazard in write.hazards)):
        return None
    return Refusal(
        RefusalKind.NO_FORM,
        f"`{name}` gives a view another shape, and writes nothing that its base could be given",
        f"assign the result of `{name.rstrip('_')}` to the name",
    )
