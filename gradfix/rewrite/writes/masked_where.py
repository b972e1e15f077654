"""The verb `select_masked`: a value computed under a mask is computed everywhere, and selected by `torch.where`.

No tensor changes its shape with the data, so it also works under `torch.func.vmap`. What is computed where the mask is
False must not spoil gradients: there every tensor is replaced by a harmless number first ("double where"), unless
nothing but sums and multiples of numbers are made of it.
"""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import MaskedWrite, Masking, Spelling, ValueKind, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.grounds.domains import safe_number
from gradfix.rewrite.grounds.dtypes import has_equal_dtype, is_floating, is_integer, is_made_of, keeps_dtype
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_literal_number
from gradfix.rewrite.text.spans import Rendering, Unit
from gradfix.rewrite.writes import obstacles
from gradfix.source import Source, Span

_FORM = "where"
_WIDTH = 88  # of a line that spells the mask more than once
_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Constant)


def select_masked(source: Source, masking: Masking, spelling: Spelling) -> Rewrite | Refusal:
    """The fix that computes the value everywhere and selects it; or why there is none that is surely equal."""
    name = masking.first.write.target
    for masked in _both(masking):
        refused = obstacles.refusal(source, masked.write)
        if refused is not None:
            return refused
        if obstacles.applicability(masked.write) is not Applicability.SAFE or is_integer(masked.write.tensor.dtype):
            return Refusal(RefusalKind.HELD, "others may see the tensor, or it carries no gradient", "write it by hand")
    if not names.can_spell_torch(spelling):
        return Refusal(
            RefusalKind.SPELLING, "torch isn't imported here, and there is no place to import it", "import torch first"
        )
    title = f"Replace the masked write with `torch.where`, assigned to `{ast.unparse(name)}`"
    if masking.inverse is not None:
        title = f"Replace the two masked writes with one `torch.where`, assigned to `{ast.unparse(name)}`"
    return Rewrite(title, Applicability.SAFE, partial(_build, masking=masking, spelling=spelling), _FORM)


def _both(masking: Masking) -> tuple[MaskedWrite, ...]:
    return (masking.first,) if masking.inverse is None else (masking.first, masking.inverse)


def _build(source: Source, *, masking: Masking, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that put one assignment in the place of the write, or of the two."""
    statements = [masked.write.statement for masked in _both(masking)]
    span = Span(source.span_of(statements[0]).start, source.span_of(statements[-1]).end)
    selector = _Selector(source, masking, spelling)
    lines = selector.lines()
    if span.text(source.text).count("#") > sum(line.count("#") for line in lines):
        return Refusal(RefusalKind.SPELLING, "a comment inside the statement would be lost", "the clone form keeps it")
    site = sites.site_of(source, statements[0])
    if masking.inverse is not None and not (site.is_alone and sites.site_of(source, statements[1]).is_alone):
        return Refusal(
            RefusalKind.SPELLING, "the two writes share a line with other statements", "put them on lines of their own"
        )
    text = site.separator.join(lines)
    return (Edit(span, text), *names.import_torch(source, spelling, text))


class _Selector:
    """One build: the mask under a name where it is used more than once, and the values of both sides."""

    def __init__(self, source: Source, masking: Masking, spelling: Spelling) -> None:
        self._source = source
        self._masking = masking
        self._where = names.torch_name(spelling, "where")
        first = masking.first
        self._target = self._text(first.write.target)
        self._mask = self._text(first.mask)
        self._flipped = masking.inverse is not None and not isinstance(first.mask, ast.Name)
        if masking.inverse is not None and self._flipped:
            self._mask = self._text(masking.inverse.mask)

    def lines(self) -> list[str]:
        """The statements: the mask gets a name where it would be spelled more often than it was, or at length."""
        first = self._masking.first
        if self._masking.inverse is not None or isinstance(first.mask, ast.Name) or is_linear(first):
            return [self._line()]
        called = any(isinstance(node, ast.Call) for node in ast.walk(first.mask))
        if first.write.form is WriteForm.INDEX and not called:
            line = self._line()
            column = self._source.position(self._source.span_of(first.write.statement).start).column
            if column + len(line) <= _WIDTH and "\n" not in line:
                return [line]
        name = names.fresh(self._source, "mask", "selected", "is_selected")
        hoisted, self._mask = f"{name} = {self._mask}", name
        return [hoisted, self._line()]

    def _line(self) -> str:
        """The assignment."""
        first, inverse = self._masking.first, self._masking.inverse
        one = self._value(first, taken=not self._flipped)
        other = self._target if inverse is None else self._value(inverse, taken=self._flipped)
        if self._flipped:
            one, other = other, one
        return f"{self._target} = {self._where}({self._mask}, {one}, {other})"

    def _text(self, node: ast.AST) -> str:
        return self._source.span_of(node).text(self._source.text)

    def _value(self, masked: MaskedWrite, *, taken: bool) -> str:
        """The value computed everywhere; where the mask isn't `taken`, of numbers instead of tensors."""
        write = masked.write
        assert write.value is not None
        linear = is_linear(masked)
        whole = whole_value(masked)
        number = f"{safe_number(whole):g}"  # an int where it is one: then integers stay integers

        def guard(text: str) -> str:
            choice = f"{text}, {number}" if taken else f"{number}, {text}"
            return text if linear else f"{self._where}({self._mask}, {choice})"

        spans = [(self._source.span_of(place), guard(self._text(place.value))) for place in masked.places]
        units = [Unit(span, partial(_constant, text=text)) for span, text in spans]
        text = Rendering(self._source, units).node(write.value)
        if write.form is WriteForm.AUGMENTED_INDEX:
            operator = (write.operator or "+=").removesuffix("=")
            right = text if isinstance(write.value, _ATOMS) else f"({text})"
            text = f"{guard(self._target)} {operator} {right}"
        if _keeps_dtype(masked):
            return text
        atomic = isinstance(write.value, _ATOMS) and write.form is WriteForm.INDEX
        return f"{text if atomic else f'({text})'}.to({self._target}.dtype)"


def _constant(render: Rendering, text: str) -> str:
    return text


def whole_value(masked: MaskedWrite) -> ast.expr:
    """The value written, with the operation of an augmented write."""
    node = masked.write.node
    if isinstance(node, ast.AugAssign):
        return ast.BinOp(node.target, node.op, node.value)
    assert masked.write.value is not None
    return masked.write.value


def _keeps_dtype(masked: MaskedWrite) -> bool:
    """Whether the value has the dtype of the target, or is a number."""
    write = masked.write
    if write.form is WriteForm.AUGMENTED_INDEX:
        return keeps_dtype(write)
    if write.written.kind is ValueKind.NUMBER or has_equal_dtype(write):
        return True
    floating = masked.is_floating or is_floating(write.tensor)
    return floating and write.value is not None and is_made_of(write.value, write.target)


def is_linear(masked: MaskedWrite) -> bool:
    """Made by adding, subtracting and scaling by numbers: what isn't selected has a finite slope whatever it is."""
    numbers = {name for name, facts in masked.write.operands if facts.kind is ValueKind.NUMBER}
    return _is_linear(whole_value(masked), numbers)


def _is_linear(value: ast.expr, numbers: set[str]) -> bool:
    if isinstance(value, ast.UnaryOp):
        return _is_linear(value.operand, numbers)
    if isinstance(value, ast.BinOp):
        if isinstance(value.op, (ast.Add, ast.Sub)):
            return _is_linear(value.left, numbers) and _is_linear(value.right, numbers)
        if isinstance(value.op, ast.Mult):
            pairs = ((value.left, value.right), (value.right, value.left))
            return any(_is_number(factor, numbers) and _is_linear(rest, numbers) for factor, rest in pairs)
        if isinstance(value.op, ast.Div):
            literal = is_literal_number(value.right) and ast.literal_eval(value.right) != 0
            return literal and _is_linear(value.left, numbers)
        return False
    return isinstance(value, (ast.Subscript, ast.Name, ast.Constant))


def _is_number(node: ast.expr, numbers: set[str]) -> bool:
    """A Python number: not a tensor, whose own gradient would be the sum of what isn't selected, times zero."""
    return is_literal_number(node) or (isinstance(node, ast.Name) and node.id in numbers)
