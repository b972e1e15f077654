"""Builds the fixes of `z.backward()` where `z` has several elements."""

from __future__ import annotations

import ast

import libcst as cst

from gradfix.analysis.facts import BackwardCall, Spelling
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text import names, sites, tree
from gradfix.rewrite.text.tree import Tree
from gradfix.source import Source

Edits = tuple[Edit, ...]

_NOT_FOUND = Refusal(
    RefusalKind.SPELLING, "the call of backward is spelled in an unusual way", "call backward on a single number"
)


def sum_root(source: Source, call: BackwardCall) -> Edits | Refusal:
    """`z.sum().backward()`."""
    found = _find(source, call)
    if isinstance(found, Refusal):
        return found
    site, read, node = found
    if _is_method(call):
        assert isinstance(node.func, cst.Attribute)
        total = read.expression("{z}.sum()", z=tree.receiver(node.func.value))
        changed = node.with_changes(func=node.func.with_changes(value=total))
    else:
        first = node.args[0]
        total = read.expression("{z}.sum()", z=tree.receiver(first.value))
        changed = node.with_changes(args=[first.with_changes(value=total), *node.args[1:]])
    return sites.replace(site, [tree.replaced(read, node, changed)])


def add_ones(source: Source, call: BackwardCall, spelling: Spelling) -> Edits | Refusal:
    """`z.backward(torch.ones_like(z))`."""
    found = _find(source, call)
    if isinstance(found, Refusal):
        return found
    site, read, node = found
    method = _is_method(call)
    if not method and len([arg for arg in node.args if arg.keyword is None]) != 1:
        return _NOT_FOUND
    root = tree.name(source.span_of(call.root).text(source.text))
    ones = cst.Arg(read.expression("{f}({z})", f=tree.name(names.torch_name(spelling, "ones_like")), z=root))
    place = 0 if method else 1
    before, after = list(node.args[:place]), list(node.args[place:])
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    if before:
        before[-1] = before[-1].with_changes(comma=comma)
    if after:
        ones = ones.with_changes(comma=comma)
    line = tree.replaced(read, node, node.with_changes(args=[*before, ones, *after]))
    return sites.replace(site, [line]) + names.import_torch(source, spelling, line)


def _find(source: Source, call: BackwardCall) -> tuple[sites.Site, Tree, cst.Call] | Refusal:
    site = sites.site_of(source, call.statement)
    read = tree.read(site, call.statement)
    if isinstance(read, Refusal):
        return read
    node = tree.find_call(read, source.span_of(call.node.func).end - site.span.start)
    if node is None or (not _is_method(call) and not node.args):
        return _NOT_FOUND
    return site, read, node


def _is_method(call: BackwardCall) -> bool:
    """`z.backward()`, rather than `torch.autograd.backward(z)`."""
    func = call.node.func
    return isinstance(func, ast.Attribute) and func.value is call.root
