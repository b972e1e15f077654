"""In-place methods and the out-of-place ones that compute the same.

Measured on torch 2.13 for every method whose name ends in `_`: the twin has the values of the in-place form, and its
dtype after a cast to the dtype of the tensor.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix import torch_ops
from gradfix.analysis.facts import Tracked, Write
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.grounds.dtypes import is_floating, is_made_of, keeps_dtype
from gradfix.rewrite.text.expressions import is_literal_number

_NO_TWIN = frozenset({"as_strided", "conj_physical", "float_power"})  # the twin is a view, the same tensor, or float64
# promote integers of unequal size, which the samples of the table don't have
_INTEGER = frozenset({"bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm"})
_ACCUMULATING = frozenset({"cumsum", "cumprod"})  # of small integers give int64
# give a contiguous result, however the tensor lies in memory (2.13); the others keep the order of its dimensions
_CONTIGUOUS = frozenset(
    "addbmm addmm baddbmm bernoulli cumprod cumsum index_add index_copy index_reduce masked_fill masked_scatter "
    "mvlgamma renorm scatter scatter_add scatter_reduce tril triu".split()
)
_REFUSED = {
    "graph": "changes what autograd does with the tensor; there is nothing to compute out of place",
    "python": "runs a Python function on every element and has no gradient",
    "storage": "changes the storage of the tensor",
}


@dataclass(frozen=True, slots=True)
class Twin:
    """`name` without the underscore, and whether its result must be cast to the dtype of the tensor."""

    name: str
    cast: bool


def refusal(method: str) -> Refusal | None:
    """Why `method` has no out-of-place form at all."""
    known = torch_ops.inplace(method)
    why = None if known is None else _REFUSED.get(known.category)
    if why is None:
        return None
    return Refusal(RefusalKind.NO_FORM, f"`{method}` {why}", "move it to where the tensor is made, or do without it")


def twin_of(method: str, arguments: list[ast.expr], write: Write) -> Twin | None:
    """The twin of `method` called with `arguments` on the tensor of `write`; None when there is none.

    `method` is the name of a method of tensors, or a qualified function (`torch.relu_`).
    """
    known = torch_ops.inplace(method)
    if known is None or known.twin is None or known.twin in _NO_TWIN:
        return None
    if not known.same_signature and not method.startswith("torch.nn.functional."):  # those only lack `inplace`
        return None
    if write.tensor.transposed and known.twin in _CONTIGUOUS:
        return None
    leaves_graph = known.dtype == "bool" or not known.same_gradients
    if leaves_graph and write.tensor.tracked is not Tracked.NO:
        return None  # `y.gt_(0)` stays connected, with a gradient of zero; `y.gt(0)` has no graph
    if known.dtype == "bool":
        return Twin(known.twin, cast=write.tensor.dtype != "bool")
    if known.twin in _ACCUMULATING:
        return Twin(known.twin, cast=not is_floating(write.tensor))
    promotes = known.dtype != "same" or known.twin in _INTEGER
    return Twin(known.twin, cast=promotes and not all(_keeps(argument, write) for argument in arguments))


def _keeps(argument: ast.expr, write: Write) -> bool:
    if is_literal_number(argument) or isinstance(argument, ast.Constant):
        return True
    if is_floating(write.tensor) and is_made_of(argument, write.target):
        return True
    return argument is write.value and keeps_dtype(write)
