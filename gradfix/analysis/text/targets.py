"""The target of a write as it is spelt: what it is a view of, and what a rewrite would bind anew."""

from __future__ import annotations

import ast

VIEW_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag", "data"})


def is_view_attribute(attribute: ast.Attribute) -> bool:
    """Whether it is spelled as a view of a tensor, as `y.T` is; what a method calls `self` is none."""
    owner = attribute.value
    return attribute.attr in VIEW_ATTRIBUTES and not (isinstance(owner, ast.Name) and owner.id == "self")


def base_of(target: ast.expr) -> ast.expr:
    """The expression a chain of views starts from: `y` of `y.t()[0].view(-1)`, `self.h` of `self.h[0]`."""
    while True:
        if isinstance(target, ast.Subscript):
            target = target.value
        elif isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
            target = target.func.value
        elif isinstance(target, ast.Attribute) and is_view_attribute(target):
            target = target.value
        else:
            return target


def root_of(target: ast.expr) -> ast.expr | None:
    """The name or attribute that a rewrite would bind anew; None when there is none."""
    while isinstance(target, ast.Subscript):
        target = target.value
    if isinstance(target, ast.Name):
        return target
    if isinstance(target, ast.Attribute) and root_of(target.value) is not None:
        return target
    return None
