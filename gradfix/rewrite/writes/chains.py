"""Chains of writing calls, `y.mul_(2).add_(1)`, and what their statement does with the result."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from enum import Enum

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.rewrite.grounds import twins
from gradfix.rewrite.grounds.places import inner_link, is_writing, place_of
from gradfix.rewrite.grounds.twins import Twin
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import (
    enclosing,
    is_effectless,
    is_literal_number,
    is_place,
    mentions,
    same,
    subexpressions_before,
)
from gradfix.source import Source

_TRANSPARENT = (ast.Attribute, ast.Call, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.List, ast.Starred)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return)


@dataclass(frozen=True, slots=True)
class Chain:
    """The longest chain of in-place calls around a write."""

    form: WriteForm
    top: ast.Call  # the outermost call
    twins: tuple[Twin, ...]  # of every link, outermost first; empty when some link has none
    function: str | None = None  # how to call the twin of `relu_(y)`, where the function was imported by name

    def below(self) -> Chain:
        """The chain without its outermost link."""
        return replace(self, twins=self.twins[1:])


class Use(Enum):
    """What a statement does with the value of a writing call."""

    STATEMENT = "statement"  # y.exp_()
    ASSIGNED_BACK = "assigned-back"  # y = y.exp_()
    RETURNED = "returned"  # return y.exp_()
    ASSIGNED = "assigned"  # z = y.exp_()
    FIRST = "first"  # f(y.exp_()): nothing that matters is evaluated before the call
    BURIED = "buried"  # anything else


def chain_of(write: Write, spelling: Spelling) -> Chain:
    """The chain around the writing call of `write`."""
    assert isinstance(write.node, ast.Call)
    if write.form is WriteForm.METHOD and not isinstance(write.node.func, ast.Attribute):
        return Chain(write.form, write.node, (), None)  # `getattr(y, name)(2)`
    if write.form is not WriteForm.METHOD:
        return Chain(write.form, write.node, _function_twins(write, spelling), _function_name(write, spelling))
    links = [write.node]
    while (outer := _outer_link(write.statement, links[-1])) is not None:
        links.append(outer)
    while isinstance(inner := _callee(links[0]), ast.Call) and inner_link(inner) is not None:
        links.insert(0, inner)
    found = [_method_twin(link, write) for link in reversed(links)]
    whole = tuple(twin for twin in found if twin is not None)
    return Chain(write.form, links[-1], whole if len(whole) == len(found) else ())


def links_of(call: ast.Call) -> list[ast.Call]:
    """The in-place calls of a chain, outermost first."""
    links = [call]
    while isinstance(inner := _callee(links[-1]), ast.Call) and inner_link(inner) is not None:
        links.append(inner)
    return links


def later_values(chain: Chain) -> list[ast.expr]:
    """What all links but the innermost take, numbers left out."""
    values = [argument for link in links_of(chain.top)[:-1] for argument in _arguments(link)]
    return [value for value in values if not is_literal_number(value)]


def reads_between(source: Source, write: Write, chain: Chain, spelling: Spelling) -> bool:
    """Whether a link may see what those before it wrote: in `y.mul_(2).add_(y[i])`, `y[i]` is doubled."""
    place = place_of(write)
    later = later_values(chain)
    if place is None or not later:
        return False
    seen = names.visible_to_calls(source, write.statement, place)
    return any(
        mentions(a, place) or (seen and (names.asks_property(source, a) or not is_effectless(a, spelling)))
        for a in later
    )


def use_of(statement: ast.stmt, call: ast.Call, place: ast.expr) -> Use:
    """What `statement` does with the value of `call`, which writes to `place`."""
    if isinstance(statement, ast.Expr) and statement.value is call:
        return Use.STATEMENT
    if isinstance(statement, ast.Assign) and statement.value is call and len(statement.targets) == 1:
        return Use.ASSIGNED_BACK if same(statement.targets[0], place) else Use.ASSIGNED
    if isinstance(statement, ast.Return) and statement.value is call:
        return Use.RETURNED
    around = enclosing(statement, call)
    if not isinstance(statement, _SIMPLE) or not all(isinstance(node, _TRANSPARENT) for node in around[1:]):
        return Use.BURIED
    before = subexpressions_before(statement, call)
    return Use.FIRST if all(is_place(node) or isinstance(node, ast.Constant) for node in before) else Use.BURIED


def is_forgotten(source: Source, write: Write, call: ast.Call, place: ast.Name) -> bool:
    """Whether nobody reads `place` after `call` any more, so that it needn't be given the result."""
    statement = write.statement
    if write.handed_on or _is_repeated(statement, call, place.id):
        return False
    inside = {id(node) for node in ast.walk(call)}
    for node in ast.walk(statement):
        mentioned = isinstance(node, ast.Name) and node.id == place.id and isinstance(node.ctx, ast.Load)
        if mentioned and id(node) not in inside and not _is_computed_with(statement, node, call):
            return False
    if isinstance(statement, ast.Return):
        return names.is_local(source, statement, place.id)
    if isinstance(statement, ast.Assign) and any(same(target, place) for target in statement.targets):
        return not names.visible_to_calls(source, statement, place)
    return names.is_dead_after(source, statement, place.id)


def _is_repeated(statement: ast.stmt, call: ast.Call, name: str) -> bool:
    """Whether a comprehension runs `call` again before it binds `name` anew: `[y.mul_(k) for k in ks]`."""
    for node in reversed(enclosing(statement, call)):
        if isinstance(node, _COMPREHENSIONS) and (binding := _generator_of(node.generators, call)) is not None:
            return not any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(binding.target))
    return False


def _generator_of(generators: list[ast.comprehension], call: ast.Call) -> ast.comprehension | None:
    """The one that runs `call` once a round; None where it stands in what the first goes over."""
    before = None
    for generator in generators:
        if any(inner is call for inner in ast.walk(generator.iter)):
            return before
        before = generator
        if any(inner is call for test in generator.ifs for inner in ast.walk(test)):
            return generator
    return before


def _is_computed_with(statement: ast.stmt, name: ast.AST, call: ast.Call) -> bool:
    """Whether arithmetic is done with `name`, and its result there, before `call` runs: `f(y - 1) * y.relu_()`."""
    around = enclosing(statement, name)
    if not around or not all(isinstance(node, _TRANSPARENT) for node in enclosing(statement, call)[1:]):
        return False
    if not all(isinstance(node, _TRANSPARENT) for node in around[1:]) or not isinstance(around[-1], ast.BinOp):
        return False
    computed = around[-1]
    return all(node is not call for node in ast.walk(computed)) and (
        (computed.end_lineno or 0, computed.end_col_offset or 0) <= (call.lineno, call.col_offset)
    )


def _outer_link(statement: ast.stmt, call: ast.Call) -> ast.Call | None:
    around = enclosing(statement, call)
    if len(around) < 2:
        return None
    attribute, outer = around[-1], around[-2]
    if isinstance(attribute, ast.Attribute) and isinstance(outer, ast.Call) and outer.func is attribute:
        return outer if is_writing(attribute.attr) else None
    return None


def _callee(call: ast.Call) -> ast.expr | None:
    return call.func.value if isinstance(call.func, ast.Attribute) else None


def _method_twin(link: ast.Call, write: Write) -> Twin | None:
    assert isinstance(link.func, ast.Attribute)
    return twins.twin_of(link.func.attr, _arguments(link), write)


def _function_twins(write: Write, spelling: Spelling) -> tuple[Twin, ...]:
    assert isinstance(write.node, ast.Call)
    if write.form in (WriteForm.FLAG, WriteForm.FOREIGN) or write.method is None:
        return ()
    twin = twins.twin_of(_qualified(write.node, spelling), _arguments(write.node)[1:], write)
    return () if twin is None else (twin,)


def _qualified(call: ast.Call, spelling: Spelling) -> str:
    """The full name of an in-place function of torch."""
    if isinstance(call.func, ast.Name):
        name = call.func.id
        return next((qualified for local, qualified in spelling.names if local == name), f"torch.{name}")
    assert isinstance(call.func, ast.Attribute)
    package = ast.unparse(call.func.value)
    of_functional = package == spelling.functional or package.endswith("functional")
    return f"{'torch.nn.functional' if of_functional else 'torch'}.{call.func.attr}"


def _function_name(write: Write, spelling: Spelling) -> str | None:
    node = write.node
    if write.method is None or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    return names.torch_name(spelling, write.method.removesuffix("_"))


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]
