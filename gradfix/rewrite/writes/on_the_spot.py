"""A write through a view that is spelled on the spot, as one assignment to its base.

`y.diagonal()[:] = v` is `y = torch.diagonal_scatter(y, v)`; `y.t()[0] += 1` is
`y = torch.select_scatter(y.t(), y.t()[0] + 1, 0, 0).t()`.
"""

from __future__ import annotations

import ast

import libcst as cst

from gradfix.analysis.facts import Spelling, ValueKind, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.grounds.places import place_of, root_of
from gradfix.rewrite.text import names, sites, tree
from gradfix.rewrite.text.numbers import spread
from gradfix.rewrite.text.pieces import text_of
from gradfix.rewrite.text.tree import Tree
from gradfix.rewrite.views.replays import WIDTH
from gradfix.rewrite.views.view_steps import is_whole, items_of, put_back
from gradfix.rewrite.writes.calls import out_of_place_call
from gradfix.rewrite.writes.chains import chain_of
from gradfix.source import Source

_NO_LINE = Refusal(
    RefusalKind.NO_FORM,
    "no one operation puts the view back into its base",
    "the clone form writes to a copy of the base",
)


def build(source: Source, write: Write, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that make the writing statement an assignment to the base of the view."""
    site = sites.site_of(source, write.statement)
    read = tree.read(site, write.statement)
    if isinstance(read, Refusal):
        return read
    base, view = place_of(write), view_of(write)
    new = _new_value(source, read, write, view, spelling)
    value = None if new is None or base is None else put_back(source, view, root(view, base), new, spelling)
    if value is None or base is None:
        return _NO_LINE
    line = f"{text_of(source, base)} = {value}"
    if not tree.keeps_comments(read, line):
        return Refusal(RefusalKind.SPELLING, "a comment inside the statement would be lost", "the clone form keeps it")
    column = source.position(site.span.start).column
    if value.count("_scatter(") > 1 or column + len(line) > WIDTH or "\n" in line:
        return _NO_LINE
    return sites.replace(site, [line]) + names.import_torch(source, spelling, line)


def root(view: ast.expr, base: ast.expr) -> ast.expr:
    """The node of `view` that is spelled as `base`, from which it starts."""
    wanted = ast.unparse(base)
    return next(n for n in ast.walk(view) if isinstance(n, type(base)) and ast.unparse(n) == wanted)


def view_of(write: Write) -> ast.expr:
    """What the write replaces: `y.t()[0]` of `y.t()[0] = v`, `y.diagonal()` of `y.diagonal()[:] = v`."""
    if write.form not in (WriteForm.INDEX, WriteForm.AUGMENTED_INDEX):
        return root_of(write.target)
    node = write.node
    written = node.target if isinstance(node, ast.AugAssign) else node.targets[0]  # type: ignore[attr-defined]
    assert isinstance(written, ast.Subscript)
    return written.value if all(is_whole(item) for item in items_of(written)) else written


def _new_value(source: Source, read: Tree, write: Write, view: ast.expr, spelling: Spelling) -> str | None:
    """The text of what the view is from then on."""
    statement, text = read.statement, text_of(source, view)
    if isinstance(statement, cst.AugAssign):
        return read.code(tree.binary(statement.with_changes(target=tree.name(text))))
    if isinstance(statement, cst.Assign):
        return _filled(source, text, write.value, write, spelling)
    if write.method in ("fill_", "copy_"):
        return _filled(source, text, write.value, write, spelling)
    if write.method == "zero_":
        return f"{names.torch_name(spelling, 'zeros_like')}({text})"
    chain = chain_of(write, spelling)
    site = sites.site_of(source, write.statement)
    call = tree.find_call(read, source.span_of(chain.top.func).end - site.span.start)
    base = place_of(write)
    if call is None or base is None:
        return None
    made = out_of_place_call(read, call, chain, tree.name(text_of(source, base)), cast=False)
    return None if made is None else read.code(made)


def _filled(source: Source, view: str, value: ast.expr | None, write: Write, spelling: Spelling) -> str | None:
    """A number spread over the view, or a tensor of its shape as it is."""
    if value is None:
        return None
    text = text_of(source, value)
    if write.written.kind is ValueKind.NUMBER:
        return spread(spelling, view, value, text)
    return f"({text})" if isinstance(value, (ast.Tuple, ast.GeneratorExp)) else text
