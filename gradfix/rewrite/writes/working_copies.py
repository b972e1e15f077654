"""The verb `work_on_copy`: the leaf stays as it is, and everything that reads or writes it works on a copy.

The copy gets a name of its own, so that `.grad` of the leaf can still be read, and every alias, view and call made
from the copy behaves as it would have with the leaf.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from gradfix.analysis.facts import Spelling, Write
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.text import names
from gradfix.rewrite.text.scopes import Mention, binds_anew, block_of, mentions_of, path_to
from gradfix.rewrite.text.sites import site_of
from gradfix.rewrite.writes.asked_leaves import OWN, inputs_of, is_asked_elsewhere, takes_leaves
from gradfix.rewrite.writes.first_writes import copied_by
from gradfix.rewrite.writes.obstacles import unchanged
from gradfix.rewrite.writes.updates import OF_LEAVES, follows_backward, uses_own_gradient
from gradfix.source import Source, Span

WORKING_COPY = "working-copy"  # the form of these rewrites
_HIDDEN = frozenset({"data", "detach_", "set_", "requires_grad_", "share_memory_"})  # work on the memory itself
_SCOPES = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
_REFLECTION = frozenset({"locals", "globals", "vars", "eval", "exec"})
_LATER = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)  # evaluated later, or more than once
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_ADVICE = "give the changed tensor a name of its own and use that name from here on"


class _CannotError(Exception):
    """Why the leaf can't be left to itself."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """One leaf and what becomes of it."""

    leaf: str  # its name
    made: ast.stmt  # the statement that makes it a leaf
    mentions: tuple[Mention, ...]  # those that become the copy
    before: ast.stmt  # the copy is made before this statement


def work_on_copy(source: Source, write: Write, writes: Sequence[Write], spelling: Spelling) -> Rewrite | None:
    """Give the leaf that `write`, one of all `writes`, overwrites a working copy.

    None where nothing shows how the leaf is made.
    Unsafe where the copy may reach somebody who asks a leaf for its gradient.
    """
    if not write.leaves or not any(hazard.kind in OF_LEAVES for hazard in write.hazards):
        return None
    if any(unchanged(source, other) for other in writes if not set(other.leaves).isdisjoint(write.leaves)):
        return None  # written in another place, where the program counts on the error
    if uses_own_gradient(write) or follows_backward(source, write):
        return None  # an update, which the copy would swallow
    build = partial(_build, write=write, spelling=spelling)
    grade = Applicability.UNSAFE if is_asked_elsewhere(source, write) else Applicability.SAFE
    return Rewrite(f"Work on a copy of the leaf `{_name(write)}`", grade, build, WORKING_COPY)


def _name(write: Write) -> str:
    found = next(hazard for hazard in write.hazards if hazard.kind in OF_LEAVES)
    return found.storage


def _build(source: Source, *, write: Write, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    texts: dict[Span, dict[str, None]] = {}  # several at one place: copies of leaves made before one statement
    try:
        for leaf in write.leaves:
            for edit in _edits(source, _copy_of(source, leaf), write, spelling):
                texts.setdefault(edit.span, {})[edit.text] = None
    except _CannotError as why:
        return Refusal(RefusalKind.LEAF, str(why), _ADVICE)
    return tuple(Edit(span, "".join(texts[span])) for span in sorted(texts))


def _copy_of(source: Source, leaf: ast.expr) -> _Copy:
    tree = names.tree_of(source)
    around = path_to(tree, leaf)
    made = next((node for node in around if isinstance(node, ast.stmt)), None)
    scope = next((node for node in around if isinstance(node, _SCOPES)), None)
    name = None if made is None else _named(made, leaf)
    if made is None or scope is None or name is None:
        raise _CannotError("the leaf has no name where it is made")
    block = block_of(around[around.index(made) + 1], made)
    if not block or _REFLECTION & {node.id for node in ast.walk(scope) if isinstance(node, ast.Name)}:
        raise _CannotError(f"`{name}` may be reached in ways that can't be seen")
    mentions = _renamed(name, scope, made, block)
    if not mentions:
        raise _CannotError(f"`{name}` is never read under its name")
    return _Copy(name, made, mentions, _start(name, scope, made, block, mentions))


def _named(made: ast.stmt, leaf: ast.expr) -> str | None:
    """The name that `made` binds to the leaf, or has made require gradients."""
    target = made.targets[0] if isinstance(made, ast.Assign) and len(made.targets) == 1 else None
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):  # x.requires_grad = True
        return target.value.id if _same_place(target, leaf) else None
    if isinstance(made, ast.Assign) and len(made.targets) == 1 and isinstance(made.targets[0], ast.Name):
        return made.targets[0].id if _same_place(made.value, leaf) else None
    if isinstance(made, ast.AnnAssign) and isinstance(made.target, ast.Name) and made.value is not None:
        return made.target.id if _same_place(made.value, leaf) else None
    if isinstance(made, ast.Expr) and isinstance(leaf, ast.Call) and isinstance(leaf.func, ast.Attribute):
        return leaf.func.value.id if isinstance(leaf.func.value, ast.Name) else None
    return None


def _same_place(a: ast.expr, b: ast.expr) -> bool:
    return (a.lineno, a.col_offset, a.end_col_offset) == (b.lineno, b.col_offset, b.end_col_offset)


def _renamed(name: str, scope: ast.AST, made: ast.stmt, block: list[ast.stmt]) -> tuple[Mention, ...]:
    """The mentions of the leaf that stand for what is computed with; those that ask for its gradient aren't among them.

    Raises `_CannotError` where the name may stand for something else, or its memory is handled directly.
    """
    found: list[Mention] = []
    end = (made.end_lineno or 0, made.end_col_offset or 0)
    over = (1 << 30, 0)
    for node in ast.walk(scope):
        if isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names:
            raise _CannotError(f"`{name}` is bound in another function too")
    for mention in mentions_of(scope, name):
        node = mention.node
        place = (node.lineno, node.col_offset)
        if any(binds_anew(outer, name) for outer in mention.around[: mention.around.index(scope)]):
            continue  # another variable
        if place <= end or place >= over:
            if (place < (made.lineno, made.col_offset)) and isinstance(node.ctx, ast.Load):  # type: ignore[attr-defined]
                raise _CannotError(f"`{name}` is read before it is made a leaf")
            continue
        statement = mention.statement()
        if not isinstance(node.ctx, ast.Load) and not isinstance(statement, ast.AugAssign):  # type: ignore[attr-defined]
            if isinstance(statement, ast.Assign) and _gives_back(statement, name):
                found.append(mention)  # the same tensor under the same name
                continue
            if not isinstance(statement, ast.Assign) or not any(statement is inner for inner in block):
                raise _CannotError(f"`{name}` is bound to something else in between")
            over = (statement.end_lineno or 0, statement.end_col_offset or 0)
            continue
        if _asks_leaf(mention):
            continue
        _check(mention, name)
        found.append(mention)
    return tuple(m for m in found if (m.node.lineno, m.node.col_offset) < over)


def _gives_back(statement: ast.Assign, name: str) -> bool:
    """`x = x.neg_()`, `x = F.silu(x, inplace=True)`: what is assigned is the tensor itself, written in place."""
    value = statement.value
    while isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        if (not called.endswith("_") or called.endswith("__")) and not _has_flag(value):
            return False
        first = value.args[0] if value.args else None
        if isinstance(first, ast.Name) and first.id == name and len(statement.targets) == 1:
            return True
        value = value.func.value if isinstance(value.func, ast.Attribute) else value.func
    return isinstance(value, ast.Name) and value.id == name and len(statement.targets) == 1


def _has_flag(call: ast.Call) -> bool:
    flags = (keyword.value for keyword in call.keywords if keyword.arg == "inplace")
    return any(isinstance(flag, ast.Constant) and flag.value is True for flag in flags)


def _asks_leaf(mention: Mention) -> bool:
    """`x.grad`, `SGD([x])`, the inputs of `torch.autograd.grad`."""
    parent = mention.around[0]
    if isinstance(parent, ast.Attribute):
        return parent.attr in OWN
    inner: ast.AST = mention.node
    for node in mention.around:
        if isinstance(node, ast.stmt):
            return False
        if isinstance(node, ast.Call) and inner is not node.func:
            if takes_leaves(node.func):
                return True
            if ast.unparse(node.func).endswith(("autograd.grad", "backward")):
                return (inner.value if isinstance(inner, ast.keyword) else inner) in inputs_of(node)
        inner = node
    return False


def _check(mention: Mention, name: str) -> None:
    parent = mention.around[0]
    if isinstance(parent, ast.Attribute) and parent.attr in _HIDDEN:
        raise _CannotError(f"`{name}.{parent.attr}` works on the memory of the leaf itself")
    if any(isinstance(node, ast.JoinedStr) for node in mention.around):
        raise _CannotError(f"`{name}` stands in an f-string")
    if any(isinstance(node, ast.Call) and _registers(node.func) for node in mention.around):
        raise _CannotError(f"`{name}` is registered as a parameter, which its copy can't be")
    if isinstance(parent, ast.Delete):
        raise _CannotError(f"`{name}` is deleted")
    quiet = any(
        isinstance(node, (ast.With, ast.AsyncWith)) and "no_grad" in "".join(map(ast.unparse, node.items))
        for node in mention.around
    )
    if quiet and (isinstance(mention.statement(), (ast.AugAssign, ast.Expr)) or not isinstance(parent, ast.Call)):
        raise _CannotError(f"`{name}` is updated under `no_grad` as well")


def _registers(function: ast.expr) -> bool:
    """`nn.ParameterList`, `nn.ParameterDict`, `self.register_parameter`."""
    return ast.unparse(function).rsplit(".", 1)[-1] in ("ParameterList", "ParameterDict", "register_parameter")


def _start(name: str, scope: ast.AST, made: ast.stmt, block: list[ast.stmt], mentions: tuple[Mention, ...]) -> ast.stmt:
    """The statement before which the copy is made: the first after `made` to need it, in the same block."""
    first = mentions[0]
    inside = next(node for node in (first.node, *first.around) if any(node is inner for inner in block))
    assert isinstance(inside, ast.stmt)
    if isinstance(inside, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        inside = block[block.index(made) + 1]
    loops = [loop for loop in block if isinstance(loop, _LOOPS) and _runs_backward(loop)]
    for loop in loops:
        if any(_within(m, loop) for m in mentions):
            raise _CannotError(f"`{name}` is used in every round of a loop that calls backward")
    return inside


def _runs_backward(loop: ast.AST) -> bool:
    calls = (node for node in ast.walk(loop) if isinstance(node, ast.Call))
    return any(ast.unparse(call.func).endswith(("backward", "autograd.grad")) for call in calls)


def _within(mention: Mention, node: ast.AST) -> bool:
    return any(outer is node for outer in mention.around)


def _edits(source: Source, copy: _Copy, write: Write, spelling: Spelling) -> list[Edit]:
    new = names.fresh(source, f"{copy.leaf}_copy", f"{copy.leaf}_working_copy")
    if (made := copied_by(source, write, spelling, copy.before, copy.leaf, new)) is not None:
        others = tuple(m for m in copy.mentions if m.statement() is not copy.before)
        return [*made, *_renaming(source, copy.leaf, others, new)]
    if _is_read_once(copy):
        return _renaming(source, copy.leaf, copy.mentions, f"{copy.leaf}.clone()")
    site = site_of(source, copy.before)
    edits = [
        Edit(Span(site.span.start, site.span.start), f"{new} = {copy.leaf}.clone(){site.separator}"),
        *_renaming(source, copy.leaf, copy.mentions, new),
    ]
    if edits[0].span.start == edits[1].span.start:  # the statement begins with the name
        edits[:2] = [Edit(edits[1].span, edits[0].text + edits[1].text)]
    return edits


def _is_read_once(copy: _Copy) -> bool:
    """Whether a single statement is all that needs the copy, once, and it binds or returns what comes of it."""
    (first, *others), statement = copy.mentions, copy.before
    if others or first.statement() is not statement or not isinstance(statement, (ast.Assign, ast.Return)):
        return False
    value = statement.value
    inside = value is not None and any(node is value for node in (first.node, *first.around))
    return inside and not any(isinstance(node, _LATER) for node in first.around)


def _renaming(source: Source, leaf: str, mentions: tuple[Mention, ...], new: str) -> list[Edit]:
    edits = []
    for mention in mentions:
        span = source.span_of(mention.node)
        if span.text(source.text) != leaf:
            raise _CannotError(f"`{leaf}` can't be found in the text")
        edits.append(Edit(span, new))
    return edits
