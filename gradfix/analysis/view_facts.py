"""What is told of names that hold views of other tensors."""

from __future__ import annotations

import ast
from dataclasses import dataclass

OF_BACKWARD_HOOK = "a full backward hook"  # what makes views that stand between a module and what is around it
OF_FUNCTION = ".apply"  # how the operation ends that makes them where an autograd Function gives one result


@dataclass(frozen=True, slots=True)
class NamedView:
    """A name that holds a view, as one statement took it: `row = y[0]`. Taken again, it would be the same view."""

    name: str
    view: ast.expr  # `y[0]`
    base: ast.expr  # the name or attribute in it that the view starts from: `y`
    taken: ast.stmt | None = None  # the statement
    until: ast.stmt | None = None  # the one of its block that the write is, or stands in


@dataclass(frozen=True, slots=True)
class WrittenViews:
    """The views that show the memory of a write while it happens."""

    named: tuple[NamedView, ...] = ()
    is_sure: bool = False  # the target itself is no copy, whatever is spelled as a view
    is_followed: bool = False  # another write to the memory comes later
    is_repeated: bool = False  # the same write comes again, in a loop
    earlier: tuple[ast.stmt, ...] = ()  # that wrote to the memory before
    handed_out: frozenset[str] = frozenset()  # the names and bases that others get, who may write to one and read one


NO_VIEWS = WrittenViews()
