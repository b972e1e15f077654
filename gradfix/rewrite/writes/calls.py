"""Builds the out-of-place forms of `y.exp_()`, `torch.relu_(y)` and `F.relu(y, inplace=True)`."""

from __future__ import annotations

import ast
from dataclasses import replace

import libcst as cst

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.grounds.places import place_of, temporary
from gradfix.rewrite.text import names, sites, tree
from gradfix.rewrite.text.expressions import is_effectless, mentions, same
from gradfix.rewrite.text.tree import Tree
from gradfix.rewrite.views import replays
from gradfix.rewrite.writes.chains import Chain, Use, chain_of, is_forgotten, reads_between, use_of
from gradfix.rewrite.writes.ladder import Form
from gradfix.source import Source, Span

Edits = tuple[Edit, ...]

_NOT_FOUND = Refusal(RefusalKind.UNKNOWN, "the writing call can't be found in its statement", "rewrite it by hand")


def build(source: Source, form: Form, write: Write, spelling: Spelling) -> Edits | Refusal:
    """The edits that give the writing call of `write` the spelling `form`."""
    site = sites.site_of(source, write.statement)
    read = tree.read(site, write.statement)
    if isinstance(read, Refusal):
        return read
    chain = chain_of(write, spelling)
    call = tree.find_call(read, source.span_of(chain.top.func).end - site.span.start)
    if call is None:
        return _NOT_FOUND
    if form is Form.CLONE:
        return _clone(source, site, read, write, spelling, call)
    place = place_of(write)
    holder = None if place is None else tree.name(source.span_of(place).text(source.text))
    before: list[str] = []
    if holder is not None and reads_between(source, write, chain, spelling):
        before, result = _link_by_link(read, call, chain, holder)
    else:
        result = out_of_place_call(read, call, chain, holder)
    if result is None:
        return _NOT_FOUND
    rebinding, *use = _statements(source, read, write, chain, call, result, holder)
    lines = [*before, rebinding, *use]
    if not tree.keeps_comments(read, *lines):
        return Refusal(RefusalKind.SPELLING, "a comment inside the statement would be lost", "the clone form keeps it")
    imports = names.import_torch(source, spelling, " ".join(lines))
    if not use or not replays.replay_of(write):
        return sites.replace(site, lines) + imports
    behind = Edit(Span(site.span.end, site.span.end), f"{site.separator}{use[0]}")  # behind the views taken again
    return (*sites.replace(site, [*before, rebinding]), behind, *imports)


def _link_by_link(
    read: Tree, call: cst.Call, chain: Chain, holder: cst.BaseExpression
) -> tuple[list[str], cst.BaseExpression | None]:
    """The statements of all links but the outermost, each of which `holder` keeps, and the twin of the outermost."""
    if not isinstance(call.func, cst.Attribute) or not isinstance(call.func.value, cst.Call) or len(chain.twins) < 2:
        return [], out_of_place_call(read, call, chain, holder)
    lines, result = _link_by_link(read, call.func.value, chain.below(), holder)
    if result is None:
        return [], None
    lines.append(read.line("{y} = {result}", y=holder, result=tree.alone(read, result)))
    outermost = call.with_changes(func=call.func.with_changes(value=holder))
    return lines, out_of_place_call(read, outermost, replace(chain, twins=chain.twins[:1]), holder)


def _statements(
    source: Source,
    read: Tree,
    write: Write,
    chain: Chain,
    call: cst.Call,
    result: cst.BaseExpression,
    holder: cst.BaseExpression | None,
) -> list[str]:
    """The statements that compute `result`, keep it as `holder`, and use it where the statement used `call`."""
    if holder is None:  # a tensor without a name: only the statement itself ever sees it
        return [tree.replaced(read, call, result)]
    rebinding = read.line("{y} = {result}", y=holder, result=tree.alone(read, result))
    place = place_of(write)
    assert place is not None
    use = use_of(write.statement, chain.top, place)
    if use is Use.STATEMENT or use is Use.ASSIGNED_BACK:
        return [rebinding]
    followed = bool(replays.replay_of(write))
    if isinstance(place, ast.Name) and not followed and is_forgotten(source, write, chain.top, place):
        return [tree.replaced(read, call, result)]
    if use is Use.ASSIGNED and not followed and (name := _plain_target(write)) and not mentions(place, name):
        return [f"{name.id} = {rebinding}"]
    return [rebinding, tree.replaced(read, call, holder)]


def _plain_target(write: Write) -> ast.Name | None:
    """`z` of `z = y.exp_()`."""
    statement = write.statement
    target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
    return target if isinstance(target, ast.Name) else None


def out_of_place_call(
    read: Tree, call: cst.Call, chain: Chain, holder: cst.BaseExpression | None, *, cast: bool = True
) -> cst.BaseExpression | None:
    """`call` with every link of the chain replaced by its twin; None when the tree isn't shaped as expected.

    `cast`: where the twin may be of another dtype, its result is cast to that of `holder`.
    """
    made: cst.BaseExpression = call
    if chain.form is WriteForm.FLAG:
        return _without_flag(call)
    twin, *inner = chain.twins
    if isinstance(call.func, cst.Attribute):
        func = call.func.with_changes(attr=cst.Name(twin.name))
        if inner:
            value = call.func.value
            below = (
                out_of_place_call(read, value, chain.below(), holder, cast=cast)
                if isinstance(value, cst.Call)
                else None
            )
            if below is None:
                return None
            func = func.with_changes(value=below)
        made = call.with_changes(func=func)
    elif isinstance(call.func, cst.Name) and chain.function is not None:
        made = call.with_changes(func=tree.name(chain.function))
    else:
        return None
    if not twin.cast or not cast:
        return made
    if holder is None:
        return None
    return read.expression("{made}.to({y}.dtype)", made=made, y=holder)


def _without_flag(call: cst.Call) -> cst.BaseExpression | None:
    """`F.relu(y, inplace=True)` without its flag, which is False by default and comes last by position."""
    kept = [arg for arg in call.args if arg.keyword is None or arg.keyword.value != "inplace"]
    if len(kept) == len(call.args):
        kept = kept[:-1]
    if not kept:
        return None
    last = kept[-1]
    if last is not call.args[-1]:
        kept[-1] = last.with_changes(comma=call.args[-1].comma, whitespace_after_arg=call.args[-1].whitespace_after_arg)
    return call.with_changes(args=kept)


def _clone(
    source: Source, site: sites.Site, read: Tree, write: Write, spelling: Spelling, call: cst.Call
) -> Edits | Refusal:
    """Clone the tensor before the statement, which then writes to the clone."""
    place = place_of(write)
    assert place is not None
    if write.form is WriteForm.FLAG and _is_only_handed_over(source, write, place) and not replays.replay_of(write):
        argument = call.args[0]
        copy = read.expression("{y}.clone()", y=tree.receiver(argument.value))
        return sites.replace(site, [tree.replaced(read, argument.value, copy)])
    if any(hazard.save is not None and site.span.contains(hazard.save.span) for hazard in write.hazards):
        return Refusal(
            RefusalKind.ORDER, "the statement both saves the tensor and overwrites it", "split it into two statements"
        )
    assert isinstance(write.node, ast.Call)
    arguments = [*write.node.args, *(keyword.value for keyword in write.node.keywords)]
    if write.form is not WriteForm.METHOD:
        arguments = [argument for argument in arguments if argument is not write.target]
    places, clones = replays.renewed(write), replays.clones(source, write)
    hoisted = [a for a in arguments if not all(_may_stay(source, write, p, a, spelling) for p in places)]
    if not hoisted:
        return replays.cloned_early(source, write) or replays.cloned(source, write)
    whole = use_of(write.statement, write.node, place) not in (Use.FIRST, Use.BURIED)
    if write.node.args[-1:] != hoisted or not whole:
        return Refusal(
            RefusalKind.ORDER,
            "an argument reads the tensor that the call writes",
            "give the argument a name before the call",
        )
    value = cst.Name(temporary(source))
    argument = [arg for arg in call.args if arg.keyword is None][-1]
    hoist = read.line("{value} = {argument}", value=value, argument=tree.alone(read, argument.value))
    rest = tree.replaced(read, argument.value, value)
    return sites.replace(site, [hoist, *clones, rest])


def _is_only_handed_over(source: Source, write: Write, place: ast.expr) -> bool:
    """`y = self.relu(y)`, or `z = self.relu(y)` where nobody reads `y` any more: the module alone needs the copy."""
    call, node = write.node, write.statement
    assert isinstance(call, ast.Call)
    if not call.args or not same(call.args[0], place):
        return False
    if isinstance(node, ast.Assign) and node.value is call and len(node.targets) == 1 and same(node.targets[0], place):
        return True
    return isinstance(place, ast.Name) and is_forgotten(source, write, call, place)


def _may_stay(source: Source, write: Write, place: ast.expr, argument: ast.expr, spelling: Spelling) -> bool:
    if mentions(argument, place):
        return False
    return is_effectless(argument, spelling) or not names.visible_to_calls(source, write.statement, place)
