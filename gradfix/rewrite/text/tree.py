"""Statements as LibCST trees: read one, take its pieces, put pieces into templates, print.

Imports LibCST, so only what builds an edit imports this module.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TypeVar

import libcst as cst
from libcst import helpers, metadata

from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text.guard import too_big
from gradfix.rewrite.text.sites import Site

_Node = TypeVar("_Node", bound=cst.CSTNode)

_NEWLINE = re.compile(r"\r\n?|\n")
_ATOMS = (cst.Name, cst.Attribute, cst.Subscript, cst.Call, cst.BaseList, cst.BaseDict, cst.BaseSet, cst.BaseNumber)
_STRENGTH: dict[type[cst.CSTNode], int] = {  # how tightly an operator binds, after Python's reference
    cst.BitOr: 1,
    cst.BitXor: 2,
    cst.BitAnd: 3,
    cst.LeftShift: 4,
    cst.RightShift: 4,
    cst.Add: 5,
    cst.Subtract: 5,
    cst.Multiply: 6,
    cst.Divide: 6,
    cst.FloorDivide: 6,
    cst.Modulo: 6,
    cst.MatrixMultiply: 6,
    cst.Power: 8,
}
_AUGMENTED: dict[type[cst.BaseAugOp], type[cst.BaseBinaryOp]] = {
    cst.AddAssign: cst.Add,
    cst.SubtractAssign: cst.Subtract,
    cst.MultiplyAssign: cst.Multiply,
    cst.DivideAssign: cst.Divide,
    cst.FloorDivideAssign: cst.FloorDivide,
    cst.ModuloAssign: cst.Modulo,
    cst.PowerAssign: cst.Power,
    cst.LeftShiftAssign: cst.LeftShift,
    cst.RightShiftAssign: cst.RightShift,
    cst.BitAndAssign: cst.BitAnd,
    cst.BitOrAssign: cst.BitOr,
    cst.BitXorAssign: cst.BitXor,
}


@dataclass(frozen=True, slots=True)
class Tree:
    """One simple statement read by LibCST; prints whatever is made of its pieces with the newlines it came with."""

    module: cst.Module
    statement: cst.BaseSmallStatement

    def code(self, node: cst.CSTNode) -> str:
        """The text of `node`."""
        return self.module.code_for_node(node)

    def expression(self, template: str, **pieces: cst.BaseExpression) -> cst.BaseExpression:
        """`template` with each `{name}` replaced by a piece."""
        return helpers.parse_template_expression(template, self.module.config_for_parsing, **pieces)

    def line(self, template: str, **pieces: cst.BaseExpression) -> str:
        """The text of a statement made from `template`."""
        made = helpers.parse_template_statement(template, self.module.config_for_parsing, **pieces)
        assert isinstance(made, cst.SimpleStatementLine)
        return self.code(made.body[0])


def read(site: Site, statement: ast.stmt) -> Tree | Refusal:
    """The statement at `site` as a tree; a refusal when LibCST can't read it or wouldn't give back its text."""
    refusal = too_big(statement, site.text)
    if refusal is not None:
        return refusal
    unreadable = Refusal(RefusalKind.SPELLING, "LibCST can't read this statement", "rewrite it by hand")
    try:
        module = cst.parse_module(site.text)
        if module.code != site.text or len(module.body) != 1:
            return unreadable
    except (cst.ParserSyntaxError, RecursionError):
        return unreadable
    line = module.body[0]
    if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        return Refusal(
            RefusalKind.SPELLING,
            "the write stands in the head of a compound statement",
            "give its result a name before it",
        )
    return Tree(module, line.body[0])


def find_call(tree: Tree, function_end: int) -> cst.Call | None:
    """The call of the statement whose function's name ends at `function_end` of the statement's text."""
    wrapper = metadata.MetadataWrapper(tree.module, unsafe_skip_copy=True)
    positions = wrapper.resolve(metadata.PositionProvider)
    starts = _line_starts(tree.module.code)
    for node in positions:
        if isinstance(node, cst.Call):
            name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
            end = positions[name].end
            if starts[end.line - 1] + end.column == function_end:
                return node
    return None


def replaced(tree: Tree, old: cst.CSTNode, new: cst.CSTNode) -> str:
    """The text of the statement with `new` in the place of `old`."""
    changed = tree.statement.deep_replace(old, new)
    assert isinstance(changed, cst.CSTNode)
    return tree.code(changed)


def operand(node: cst.BaseExpression, operator: cst.BaseBinaryOp) -> cst.BaseExpression:
    """`node` fit to stand on the right of `operator`: in parentheses where it would be torn apart without them."""
    if node.lpar or isinstance(node, _ATOMS) or _is_string(node):
        return node
    mine = _STRENGTH[type(operator)]
    if isinstance(node, cst.BinaryOperation) and _STRENGTH[type(node.operator)] > mine:
        return node
    if isinstance(node, cst.UnaryOperation) and not isinstance(node.operator, cst.Not):
        return node
    return parenthesised(node)


def receiver(node: cst.BaseExpression) -> cst.BaseExpression:
    """`node` fit to stand before a dot."""
    if node.lpar or (isinstance(node, _ATOMS) and not isinstance(node, cst.BaseNumber)):
        return node
    return parenthesised(node)


def argument(node: cst.BaseExpression) -> cst.BaseExpression:
    """`node` fit to be an argument of a call; parentheses it doesn't need there are dropped when it is on one line."""
    if isinstance(node, (cst.Tuple, cst.GeneratorExp, cst.NamedExpr, cst.Yield)):
        return node if node.lpar else parenthesised(node)
    return without_parentheses(node)


def without_parentheses(node: cst.BaseExpression) -> cst.BaseExpression:
    """`node` without one pair of parentheses around it, unless a comment or a line break stands in them."""
    if len(node.lpar) != 1 or isinstance(node, (cst.Tuple, cst.GeneratorExp)):
        return node
    spaces = (node.lpar[0].whitespace_after, node.rpar[0].whitespace_before)
    if not all(isinstance(space, cst.SimpleWhitespace) for space in spaces):
        return node
    return node.with_changes(lpar=[], rpar=[])


def parenthesised(node: _Node) -> _Node:
    """`node` in parentheses."""
    return node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def binary(statement: cst.AugAssign) -> cst.BinaryOperation:
    """The operation that the augmented assignment `statement` does, with its operator spaced as it was."""
    kind = _AUGMENTED[type(statement.operator)]
    after = statement.operator.whitespace_after  # type: ignore[attr-defined]  # every operator has it
    operator = kind(whitespace_before=_space(statement), whitespace_after=after)  # type: ignore[call-arg]  # likewise
    return cst.BinaryOperation(statement.target, operator, operand(statement.value, operator))


def assignment(statement: cst.AugAssign, value: cst.BaseExpression) -> cst.Assign:
    """`statement` as a plain assignment of `value`."""
    space = _space(statement)
    return cst.Assign([cst.AssignTarget(statement.target, space, space)], value)


def _space(statement: cst.AugAssign) -> cst.SimpleWhitespace:
    before = statement.operator.whitespace_before  # type: ignore[attr-defined]  # every operator has it
    return cst.SimpleWhitespace("" if isinstance(before, cst.SimpleWhitespace) and not before.value else " ")


def alone(tree: Tree, node: cst.BaseExpression) -> cst.BaseExpression:
    """`node` fit to be assigned: in parentheses where it has line breaks that only the brackets around it allowed."""
    try:
        ast.parse(f"_ = {tree.code(node)}")
    except SyntaxError:
        return parenthesised(node)
    return node


def keeps_comments(tree: Tree, *lines: str) -> bool:
    """Whether `lines` still have every comment that stands in the statement."""
    return sum(line.count("#") for line in lines) >= tree.module.code.count("#")


def name(text: str) -> cst.BaseExpression:
    """A dotted name as an expression."""
    return cst.parse_expression(text)


def _is_string(node: cst.BaseExpression) -> bool:
    return isinstance(node, (cst.SimpleString, cst.FormattedString))


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in _NEWLINE.finditer(text))]
