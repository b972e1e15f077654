"""Builds differentiable masking: the writes of a branch, each chosen by `torch.where`."""

from __future__ import annotations

import ast

import libcst as cst

from gradfix.analysis.facts import ConditionalFill, IndexKind, Spelling, ValueKind, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind
from gradfix.rewrite.branches.both_ways import Arm, Plan, plan_of
from gradfix.rewrite.grounds.dtypes import is_floating
from gradfix.rewrite.text import names, sites, tree
from gradfix.rewrite.text.remarks import remarks_in
from gradfix.rewrite.text.tree import Tree
from gradfix.rewrite.writes import assignments, obstacles
from gradfix.rewrite.writes.ladder import may_scatter, single_axis
from gradfix.source import Source, Span

_CHANGED = Refusal(
    RefusalKind.UNKNOWN, "the branch can't be computed both ways", "keep the branch and connect the buffer after it"
)


def build(source: Source, fill: ConditionalFill, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that put masked writes in the place of the branch."""
    plan = plan_of(source, fill, spelling)
    if plan is None:
        return _CHANGED
    trees: list[Tree] = []
    for arm in plan.arms:
        read = tree.read(sites.site_of(source, arm.write.statement), arm.write.statement)
        if isinstance(read, Refusal):
            return read
        trees.append(read)
    masker = _Masker(source, spelling, plan, trees)
    return masker.edits(fill)


class _Masker:
    """One build: the trees of the writes, and the names given to tests that are used more than once."""

    def __init__(self, source: Source, spelling: Spelling, plan: Plan, trees: list[Tree]) -> None:
        self._source = source
        self._plan = plan
        self._trees = trees
        self._spelling = spelling
        self._where = tree.name(names.torch_name(spelling, "where"))
        self._hoists: list[str] = []
        self._tests = [self._test(mask, number) for number, mask in enumerate(plan.masks)]

    def edits(self, fill: ConditionalFill) -> tuple[Edit, ...]:
        if self._plan.is_choice:
            written = [(self._plan.arms[0], self._line(0, self._nested(0)))]
        else:
            written = [(arm, self._line(n, self._choice(n, None))) for n, arm in enumerate(self._plan.arms)]
        branch = fill.branch
        position = self._source.position(self._source.span_of(branch).start)
        indent = self._source.line_text(position.line)[: position.column].replace("\f", "")
        newline = self._source.newline_at(position.line) or self._source.newline
        span = self._source.span_of(branch)
        last = self._last_line(self._source.position(span.end).line, len(indent))
        lines = [*self._hoists, *self._with_remarks(Span(span.start, self._source.line_span(last).end), written)]
        text = (newline + indent).join(lines)
        return (
            Edit(Span(span.start, self._source.line_span(last).end), text),
            *names.import_torch(self._source, self._spelling, text),
        )

    def _last_line(self, line: int, indent: int) -> int:
        """The last line of the branch that ends on `line`: with the comments below that are indented as its body is."""
        for number in range(line + 1, self._source.line_count + 1):
            text = self._source.line_text(number)
            if not text.lstrip().startswith("#") or len(text) - len(text.lstrip()) <= indent:
                break
            line = number
        return line

    def _test(self, mask: str, number: int) -> cst.BaseExpression:
        """The test as it is used, under a name where it is used again."""
        guards = sum(len(arm.guards) for arm in self._plan.arms)
        uses = guards + (1 if self._plan.is_choice else len(self._plan.arms))
        reshaped = not self._plan.scalar and (guards or any(map(self._rebinds, range(len(self._plan.arms)))))
        text = f"({mask}).reshape(())" if reshaped else mask
        if uses == 1:
            return cst.parse_expression(text)
        wishes = ("condition", "is_taken") if number == 0 else ("other_condition", "next_condition")
        name = names.fresh(self._source, *wishes)
        self._hoists.append(f"{name} = {text}")
        return cst.Name(name)

    def _nested(self, number: int) -> cst.BaseExpression:
        """The value that the chain of tests from `number` on chooses for the place they write."""
        below = self._nested(number + 1) if number + 1 < len(self._plan.arms) else None
        if number == len(self._plan.masks):
            return self._value(number)
        return self._choice(number, below)

    def _choice(self, number: int, otherwise: cst.BaseExpression | None) -> cst.BaseExpression:
        """`torch.where(test, value, otherwise)`, where `otherwise` is the place as it was."""
        read = self._trees[number]
        test = self._tests[min(number, len(self._tests) - 1)]
        other = _place(read) if otherwise is None else otherwise
        return read.expression("{w}({c}, {v}, {o})", w=self._where, c=test, v=self._value(number), o=other)

    def _value(self, number: int) -> cst.BaseExpression:
        """The value of an arm, its tracked tensors replaced by 1 where the arm isn't taken."""
        read, arm = self._trees[number], self._plan.arms[number]
        statement = read.statement
        assert isinstance(statement, (cst.Assign, cst.AugAssign))
        value = tree.binary(statement) if isinstance(statement, cst.AugAssign) else statement.value
        if arm.guards:
            first = number == 0 or not self._plan.is_choice
            template = "{w}({c}, {t}, 1.0)" if first else "{w}({c}, 1.0, {t})"
            guard = _Guard(read, arm.guards, template, self._where, self._tests[0])
            visited = value.visit(guard)
            assert isinstance(visited, cst.BaseExpression)
            value = visited
        return tree.argument(value)

    def _line(self, number: int, value: cst.BaseExpression) -> str:
        """The write of `value`: assigned to the buffer where the shapes are known, else in place."""
        read, write = self._trees[number], self._plan.arms[number].write
        target = _place(read)
        if not self._rebinds(number):
            return read.line("{place} = {value}", place=target, value=value)
        return assignments.scatter_line(read, write, target, value, self._spelling)

    def _rebinds(self, number: int) -> bool:
        """Whether the buffer can be given a new tensor by the write of an arm; of all arms, where one is chosen."""
        arms = self._plan.arms if self._plan.is_choice else self._plan.arms[number : number + 1]
        return all(self._may_rebind(arm.write) for arm in arms)

    def _may_rebind(self, write: Write) -> bool:
        """Nobody else sees the buffer, and the value has the shape of the place that is written."""
        free = obstacles.refusal(self._source, write) is None
        if not free or obstacles.applicability(write) is not Applicability.SAFE:
            return False
        if write.tensor.rank is None or not is_floating(write.tensor) or not may_scatter(write, self._spelling):
            return False
        place = single_axis(write.index)
        assert place is not None
        rank = write.tensor.rank - (place[1].kind is IndexKind.INT)
        if write.form is WriteForm.AUGMENTED_INDEX or write.written.kind is ValueKind.NUMBER:
            return True
        tensor = write.written.tensor
        return tensor is not None and tensor.rank is not None and tensor.rank <= rank

    def _with_remarks(self, span: Span, written: list[tuple[Arm, str]]) -> list[str]:
        """The written lines with the comments of the branch: before a line, or behind it where one stood there."""
        remarks = list(remarks_in(self._source, span))
        lines: list[str] = []
        for arm, line in written:
            statement = arm.write.statement
            end = self._source.span_of(statement).end
            last = self._source.position(end).line
            follows = self._source.text[end : self._source.line_span(last).end].lstrip()
            before = [remark.text for remark in remarks if remark.line < statement.lineno]
            lines += [*before, f"{line}  {follows}" if follows.startswith("#") else line]
            remarks = [remark for remark in remarks if remark.line > last]
        rest = [remark.text for remark in remarks]
        return [*rest, *lines] if self._plan.is_choice else [*lines, *rest]


class _Guard(cst.CSTTransformer):
    """Replaces tracked tensors in a value by a choice between them and 1."""

    def __init__(
        self,
        read: Tree,
        guards: tuple[ast.expr, ...],
        template: str,
        where: cst.BaseExpression,
        test: cst.BaseExpression,
    ) -> None:
        super().__init__()
        self._read = read
        self._guards = {ast.dump(guard) for guard in guards}
        self._template = template
        self._where = where
        self._test = test

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return self._guarded(original_node, updated_node)

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        return self._guarded(original_node, updated_node)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        return updated_node.with_changes(attr=original_node.attr)

    def _guarded(self, original: cst.BaseExpression, updated: cst.BaseExpression) -> cst.BaseExpression:
        shape = ast.dump(ast.parse(f"({self._read.code(original)})", mode="eval").body)
        if shape not in self._guards:
            return updated
        return self._read.expression(self._template, w=self._where, c=self._test, t=tree.without_parentheses(original))


def _place(read: Tree) -> cst.Subscript:
    """The part of the buffer that a statement writes."""
    statement = read.statement
    target = statement.target if isinstance(statement, cst.AugAssign) else None
    if isinstance(statement, cst.Assign):
        target = statement.targets[0].target
    assert isinstance(target, cst.Subscript)
    return target
