"""Errors of torch and Python, by what their messages contain, and what may help against each.

Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from gradfix.backward.worker.synthesis import kinds
from gradfix.backward.worker.synthesis import repairs as repair
from gradfix.backward.worker.synthesis.repairs import Failure, Handler
from gradfix.backward.worker.synthesis.values import Call


def repairs(call: Call, failure: Failure) -> Iterator[Call]:
    """Calls that may come further, told by the error: of every row that fits, in the order of the table."""
    table = _OF_KINDS if failure.kind == "KeyError" else _TABLE  # a key may hold anything
    told = [(handler, pattern.search(f"{failure.kind}: {failure.message}")) for pattern, handler in table]
    for one in (replace(failure, only=True), failure) if failure.relevant else (failure,):
        for handler, match in told:
            if match is not None:
                yield from handler(call, one, match)


_A, _B = r"(?P<a>\d+)", r"(?P<b>\d+)"
_SHAPES: tuple[tuple[str, Handler], ...] = (
    (r"(?s)^(?!RuntimeError).*[(\[](?:['\w*]+, ?)+(?:['\w*]+)?[)\]]", repair.as_told),
    (
        r"[Ee]xpected [\w ]*[(\[](?P<wanted>[\d, ]+)[)\]],? (?:but )?got [\w ]*[(\[](?P<got>[\d, ]+)[)\]]",
        repair.exactly,
    ),
    (
        r"(?P<got>\d+(?: ?[x*,] ?\d+)+)\D+(?:doesn't|not|must) match\D*(?P<wanted>\d+(?: ?[x*,] ?\d+)+)",
        repair.ends_as,
    ),
    (r"value tensor of shape \[(?P<got>[\d, ]+)\] cannot be .*? shape \[(?P<wanted>[\d, ]+)\]", repair.exactly),
    (rf"mat1 and mat2 shapes cannot be multiplied \(\d+x{_A} and {_B}x\d+\)", repair.same_columns),
    (rf"size mismatch, got .*?\d+x{_A},{_B}", repair.same_columns),
    (rf"to have {_A} channels, but got {_B}", repair.wanted_channels),
    (rf"at dim(?:ension)? (?P<index>\d).*?expected {_A}\D+?got {_B}", repair.at_dimension),
    (r"\b\d-?[Dd]\b", repair.to_named_ranks),
    (r"(?:[Ee]xpected|must be|should be|have) (?P<rank>[1-5]) dim|\b(?P<rank_>[1-5])[- ]dimensional", repair.to_rank),
    (r"should have positive dimension", repair.more_dimensions),
    (r"\b(?P<word>[Oo]ne|[Tt]wo|[Tt]hree|[Ff]our|[Ff]ive)[- ]dimensional", repair.to_spelled_rank),
    (r"(?:to|must|should) be a (?P<word>scalar|vector)\b", repair.to_spelled_rank),
    (r"dim(?:ension|\(\))?s?\W+(?:must be|should be|==|to be|=)\s*(?P<rank>\d)", repair.to_rank),
    (r"(?P<rank>)[Mm]atrices expected|matrix", repair.to_rank),
    (r"at least (?P<rank>\d) dimensions", repair.to_rank),
    (r"the number of sizes provided \((?P<rank>\d)\)", repair.to_rank),
    (r"Dimension out of range \(expected to be in range of .*?, but got (?P<dim>-?\d+)\)", repair.more_dimensions),
    (r"too many indices|tuple index out of range|Dimension specified as 0 but tensor has no", repair.more_dimensions),
    (r"number of dimensions|dimension mismatch|same number of dim|dims\(\)|\.dim\(\)|ndim", repair.more_dimensions),
    (r"normalized_shape=\[(?P<shape>[\d, ]+)\]", repair.wanted_shape),
    (rf"size of tensor a \({_A}\) must match the size of tensor b \({_B}\)", repair.same_sizes),
    (rf"to be: \[\d+, {_A}\] but got: \[\d+, {_B}\]", repair.same_sizes),
    (rf"must match except in dimension \d+\. Expected size {_A} but got size {_B}", repair.same_sizes),
    (rf"[Ee]xpected (?:size|input batch_size) \(?{_A}\)?.*?(?:got|match target batch_size)\W+{_B}", repair.same_sizes),
    (rf"(?:expand|shape mismatch|broadcast|expanded size).*?\(?{_A}\)?.*?{_B}", repair.same_sizes),
    (rf"inconsistent tensor size.*?{_A}.*?{_B}", repair.same_sizes),
    (r"shape '\[(?P<shape>[-\d, ]+)\]' is invalid", repair.viewable),
    (r"unflatten|view size|reshape", repair.larger),
    (r"(?:not enough|too many) values to unpack \(expected (?P<wanted>\d+)", repair.unpackable),
    (r"^IndexError: (?:list|tuple) index out of range", repair.longer),
    (r"of size \[(?:\d+, )*0\b|at least 1 at dimension|be a positive number", repair.wider),
    (r"index (?P<index>\d+) is out of bounds for dimension \d+ with size (?P<size>\d+)", repair.in_range),
    (r"out of range|out of bounds|class values must be smaller", repair.in_range),
    (r"[Kk]ernel size can't be greater|too small|must be less than|selected index k|start \(", repair.larger),
    (r"should be (?:greater|less|smaller)|greater than zero|more than 1 value per channel", repair.larger),
    (r"non-empty|zero[- ]size|numel\(\) == 0|size 0", repair.larger),
    (r"divisible|multiple of", repair.divisible),
    (r"^(?!RuntimeError).*[Gg]ot (?:an? )?(?:tensor (?:of|with) )?shape", repair.more_dimensions),
    (rf"same (?:batch )?(?:size|shape).*?sizes? \[{_A}.*?sizes? \[{_B}", repair.same_sizes),
    (
        rf"^(?!RuntimeError).*\b(?:expect\w*|must|should|needs?)\D+{_A}\D+(?:got|found|given|received|is|was)\D+{_B}",
        repair.same_sizes,
    ),
)
_KINDS: tuple[tuple[str, Handler], ...] = (
    (r"must be long, int, byte or bool|[Ll]ong|int64|integer|IntTensor", kinds.of_another_kind("long", "int")),
    (r"[Bb]ool", kinds.of_another_kind("bool")),
    (r"singular|positive.definite|[Cc]holesky|linalg", kinds.of_another_kind("matrix")),
    (r"Boolean value of Tensor", kinds.of_another_kind("int", "float", "str", "list")),
    (
        r"\b(?:nn\.)?Modules? (?:is|are) (?:expected|supported|needed|required)|expected (?:an? )?(?:nn\.)?Module",
        kinds.of_another_kind("module"),
    ),
    (
        r"must be (?:strictly )?(?:positive|non[- ]?negative)|(?:greater|larger)(?: than)?(?: or equal to)? 0",
        repair.positive,
    ),
    (r"\b(?P<word>[Tt]wo|[Tt]hree|[Ff]our)[- ]elements?\b", repair.as_tuple),
    (r"invalid combination of arguments - got \([^)]*\bTensor", kinds.of_another_kind("int")),
    (r"object is not callable", kinds.of_another_kind("callable", "module")),
    (r"TypeError: .*(?:integer|'int'|\bints?\b)", kinds.of_another_kind("int")),
    (r"not iterable|not subscriptable|has no len\(\)|an iterable", kinds.of_another_kind("list", "tensor", "dict")),
    (r"must be tuple of ints|argument 'size'", kinds.of_another_kind("list")),
    (r"must be [Tt]ensor|expected Tensor|NoneType", kinds.of_another_kind("tensor", "list")),
    (r"not (?:int|float|str|list|tuple)\b", kinds.of_another_kind("tensor", "list")),
    (r"TypeError: .*(?:float|real number)", kinds.of_another_kind("float")),
    (r"unsupported operand|not supported between|bad op", kinds.of_another_kind("float", "int", "tensor", "list")),
    (r"should be a string|must be str|expected str", kinds.of_another_kind("str")),
    (r"KeyError: '(?P<key>\w+)'", kinds.with_key),
    (r"indices must be|KeyError|string index", kinds.of_another_kind("str", "dict", "int", "long")),
    (r"'(?:types\.)?(?P<owner>\w+)' object has no attribute '(?P<name>\w+)'", kinds.with_attribute),
    (r"unexpected keyword argument '(?P<name>\w+)'", kinds.without),
    (r"positional arguments? but|missing \d+ required positional|takes no arguments", kinds.of_another_arity),
)
_OF_KINDS = tuple((re.compile(pattern), handler) for pattern, handler in _KINDS)
_TABLE = (*((re.compile(pattern), handler) for pattern, handler in _SHAPES), *_OF_KINDS)
