"""How a finding is named across runs and edits."""

from __future__ import annotations

import ast
import hashlib

from gradfix.findings import Identity


def identity(code: str, qualname: str, statement: ast.AST, ordinal: int, *, part: str = "") -> Identity:
    """The identity of a finding about `statement` of the function `qualname`.

    Layout, comments and line numbers don't matter to it. `part` tells apart findings of one code about one statement.
    """
    text = f"{ast.dump(statement)}\0{part}"
    return Identity(
        code, qualname, hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=6).hexdigest(), ordinal
    )
