"""What switches gradients off, as it is written: `torch.no_grad()`, `@torch.inference_mode`."""

from __future__ import annotations

import ast
from collections.abc import Sequence

_OFF = frozenset({"no_grad", "inference_mode"})


def turns_off(node: ast.expr) -> bool:
    """`torch.no_grad()`, or `torch.no_grad` as a decorator."""
    if isinstance(node, ast.Call):
        return not node.args and not node.keywords and turns_off(node.func)
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in _OFF


def switch_among(nodes: Sequence[ast.expr]) -> ast.expr:
    """The one that turns gradients off, of the decorators of a function or the items of a `with`; else the first."""
    return next(filter(turns_off, nodes), nodes[0])
