"""The parameters of a function as callers in other files need them."""

from __future__ import annotations

import ast

from gradfix.analysis.effects import Constant, Parameter
from gradfix.analysis.text.parameters import defaults_of, named_of


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[Parameter, ...]:
    """The parameters of a function, `*rest` last, without `**more`."""
    arguments = node.args
    defaults = defaults_of(arguments)
    rest = () if arguments.vararg is None else (Parameter(arguments.vararg.arg, False, False, True, gathers=True),)
    named = tuple(
        _parameter(
            parameter,
            defaults.get(parameter.arg),
            by_position=parameter not in arguments.kwonlyargs,
            by_name=parameter not in arguments.posonlyargs,
        )
        for parameter in named_of(arguments)
    )
    return (*named, *rest)


def _parameter(node: ast.arg, default: ast.expr | None, *, by_position: bool, by_name: bool) -> Parameter:
    value: Constant = None
    constant = isinstance(default, ast.Constant) and isinstance(default.value, (bool, int, float, str, type(None)))
    if constant:
        value = default.value  # type: ignore[union-attr]  # one of these
    return Parameter(node.arg, by_position, by_name, default is not None, constant, value)
