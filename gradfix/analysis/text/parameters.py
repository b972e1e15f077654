"""The parameters of a function, as its signature spells them; `*rest` and `**more` are none here."""

from __future__ import annotations

import ast


def positional_of(arguments: ast.arguments) -> list[ast.arg]:
    """Those that a call may give by their place."""
    return [*arguments.posonlyargs, *arguments.args]


def named_of(arguments: ast.arguments) -> list[ast.arg]:
    """All of them, in order."""
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def annotations_of(arguments: ast.arguments) -> dict[str, ast.expr | None]:
    """The annotation of each."""
    return {parameter.arg: parameter.annotation for parameter in named_of(arguments)}


def defaults_of(arguments: ast.arguments) -> dict[str, ast.expr]:
    """The default of each that has one, in the order in which they are evaluated."""
    places = positional_of(arguments)
    pairs = [*zip(places[len(places) - len(arguments.defaults) :], arguments.defaults, strict=True)]
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {parameter.arg: value for parameter, value in (*pairs, *by_name) if value is not None}
