"""An import that the edits of a fix leave without use goes with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import PurePath

from gradfix import edits as edit_sets
from gradfix.edits import Edit
from gradfix.rewrite.text import names
from gradfix.rewrite.text.sites import removed
from gradfix.source import Source


def without_import(source: Source, edits: Sequence[Edit], module: str) -> tuple[Edit, ...]:
    """The edit that removes `import module as name`, where nothing has that name any more once `edits` are made.

    Nothing is removed where the name stands elsewhere in the text, be it in a string or a comment, or others may count
    on the import: in an `__init__.py`, or where a comment stands beside it.
    """
    if PurePath(source.path).name == "__init__.py":
        return ()
    for statement in names.tree_of(source).body:
        if isinstance(statement, ast.Import) and len(statement.names) == 1 and statement.names[0].name == module:
            left = edit_sets.apply(source.text, edit_sets.normalise(edits))
            named = re.findall(rf"\b{statement.names[0].asname or module}\b", left)
            spelled = re.findall(rf"\b{statement.names[0].asname or module}\b", ast.unparse(statement))
            gone = removed(source, statement) if len(named) == len(spelled) else None
            return () if gone is None else (gone,)
    return ()
