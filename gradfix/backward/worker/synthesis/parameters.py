"""What the text of a function says about its parameters: annotations, docstring, names, and what the body does to them.

Standard library only.
"""

from __future__ import annotations

import ast
import re

from gradfix.backward.worker.synthesis.clues import Clue, annotated, documented, named
from gradfix.backward.worker.synthesis.origins import Function, parameters
from gradfix.backward.worker.synthesis.uses import Uses


def clues(
    function: Function,
    tables: dict[str, list[str]],
    of_tensors: frozenset[str],
    owner: ast.ClassDef | None = None,
) -> dict[str, Clue]:
    """A clue for each parameter.

    `tables` are the keys of the module's dicts, `of_tensors` the attributes that tensors have. What a constructor
    keeps is followed through the methods of its class, the `owner`.
    """
    found = {name: Clue() for name in parameters(function)}
    _from_signature(function, found)
    _from_docstrings(function, owner, found)
    uses = Uses(owner or function, tables, of_tensors)
    for name, clue in found.items():
        uses.of_parameter(function, name, clue)
        clue.kinds.update(named(name).kinds)
    return found


def _from_signature(function: Function, found: dict[str, Clue]) -> None:
    given = function.args
    for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))):
        if one.annotation is not None:
            annotated(ast.unparse(one.annotation), found[one.arg])


def _from_docstrings(function: Function, owner: ast.ClassDef | None, found: dict[str, Clue]) -> None:
    """Arguments of a constructor are documented there or in its class."""
    for node in (owner, function):
        text = ast.get_docstring(node) if node is not None and not isinstance(node, ast.Lambda) else None
        _from_docstring(text or "", found)


def _from_docstring(text: str, found: dict[str, Clue]) -> None:
    current: Clue | None = None  # of the parameter whose paragraph it is
    for line in text.splitlines():
        match = re.match(r"\s*(?::param\s+)?[`*-]*\s*(\w+)[`*]*\s*(?:\(|:|\[)", line)
        clue = found.get(match[1]) if match is not None else None
        current = clue or (None if match is not None or not line.strip() else current)
        if current is not None:
            current.choices += re.findall(r"['\"]([A-Za-z][\w-]*)['\"]", line)
        if clue is not None and match is not None:
            documented(line[match.end(1) :], clue)
            continue
        for name in re.findall(r"\w+", line):  # "Convert an image of shape (N, C, H, W)"
            if name in found and found[name].shape is None and len(name) > 1:
                documented(line[line.index(name) :], found[name])
