"""Calls of torch's operators, with what backward saves of them; and the table's answer to the same question.

`CALLS` says for each call what is saved when every floating-point argument requires grad: S or - for each tensor
argument in turn, then R or - for the (first) result. The list was made by hand from notes on torch, not from the table.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from gradfix import torch_ops
from gradfix.analysis.domain.overloads import bind
from gradfix.torch_ops import Operator

CALLS = """
-R | exp exp2 expm1 sqrt rsqrt tan tanh sigmoid reciprocal relu | x
-R | softmax log_softmax | x, 0
-R | linalg.inv | sq
S- | log log2 log10 log1p sin cos asin acos atan sinh cosh asinh atanh erf erfc erfinv abs square | u
S- | lgamma digamma angle logit nan_to_num sinc i0 var arcsin absolute special.erf special.i0 | u
S- | acosh | x + 2
S- | pow | x, 2
S- | nn.functional.selu nn.functional.celu nn.functional.elu nn.functional.gelu nn.functional.silu | z
S- | nn.functional.mish nn.functional.softplus nn.functional.softsign nn.functional.hardtanh nn.functional.hardswish | z
S- | nn.functional.hardsigmoid nn.functional.leaky_relu nn.functional.relu6 nn.functional.logsigmoid | z
S- | nn.functional.softshrink nn.functional.hardshrink nn.functional.glu nn.functional.normalize | z
S- | nn.functional.max_pool2d nn.functional.avg_pool2d | img, 2
S- | clamp | x, 0.3, 0.8
SS- | nn.functional.nll_loss | x.log(), labels
SS- | gather | x, 0, idx
SS- | masked_select | x, mask
SS- | take | x, i
S- | cummax | x, 0
SR | sgn prod std norm linalg.norm max min amax median | x
SR | pow | 2.0, x
SR | logsumexp cumprod logcumsumexp | x, 0
SR | linalg.det | spd
-R | linalg.cholesky | spd
-- | neg sign round floor ceil trunc frac deg2rad rad2deg nn.functional.tanhshrink sum mean clone | x
-- | flip | x, (0,)
-- | mul add sub div | x, 2.0
-- | cumsum sort kthvalue | x, 1
-- | topk | x, 2
-- | trace diag tril | sq
-- | nn.functional.dropout | x
-- | nn.functional.pad | x, (1, 1)
-- | reshape | x, (-1,)
-- | transpose | x, 0, 1
-- | roll | x, 1
-S- | index_select | x, 0, i
-S- | masked_fill | x, mask, 0.5
-S- | nn.functional.cross_entropy | x, labels
S-- | nn.functional.embedding | i, x
--- | add sub nn.functional.l1_loss | x, y
--- | lerp | x, y, 0.3
S--- | where | mask, x, y
-- | cat stack | [x, y]
-S-- | scatter scatter_add | x, 0, idx, y
-S-- | masked_scatter | x, mask, y
--- | slice_scatter | x, y[:2], 0, 0, 2
--- | select_scatter | x, row, 0, 1
SS- | mul div maximum minimum fmax fmin atan2 xlogy logaddexp | x, y
SS- | nn.functional.mse_loss nn.functional.smooth_l1_loss nn.functional.huber_loss | x, y
SS- | nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits | u, u * 0.5
SS- | nn.functional.cosine_similarity | x, y
SS- | nn.functional.kl_div | x, u
SS- | matmul mm | x, y.t()
SS- | mv | x, row
SS- | dot outer | row, row + 1
SS- | bmm | batch, batch.transpose(1, 2) + 1
SS- | linalg.cross | three, three + 1
SS- | nn.functional.prelu | z, row
SS- | nn.functional.grid_sample | img, grid
SS- | nn.functional.rms_norm | x, (4,), row
SS- | fmod remainder | x, y
SSR | pow dist cdist hypot | x, y
S-R | copysign | x, y
S-R | linalg.solve | sq, row
-SS- | addmm | sq, y.t(), x
-SS- | addcmul addcdiv | x, y, u
-SS- | baddbmm | cube, batch, batch.transpose(1, 2) + 1
SS-- | nn.functional.linear | x, sq, row
SS-- | nn.functional.conv2d | img, kernel, bias
SSS- | lerp | x, y, u
SSS- | clamp | x, y, u + 1
SSS- | nn.functional.layer_norm | x, (4,), row, row + 1
-SS- | index_add index_copy | x, 0, i, y
"""

ENVIRONMENT = """
x, y, z = [rand(3, 4) + 0.1 for _ in range(3)]
z = z - 0.6
u, s = rand(3, 4) * 0.8 + 0.1, rand(()) + 0.5
row, bias = rand(4) + 0.1, rand(2)
sq = rand(4, 4) + 2 * torch.eye(4, dtype=torch.float64)
spd = sq @ sq.t()
cube, batch, three = rand(2, 3, 3), rand(2, 3, 4), rand(4, 3)
img, kernel, grid = rand(2, 3, 6, 6), rand(2, 3, 3, 3), rand(2, 4, 4, 2) - 0.5
mask = x > 0.5
i, labels = torch.tensor([0, 2, 1]), torch.tensor([0, 3, 1])
idx = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 1], [2, 0, 1, 2]])
"""


def lines() -> Iterator[tuple[str, str, str]]:
    """(operator, call, code)"""
    for line in CALLS.strip().splitlines():
        code, names, call = (part.strip() for part in line.split(" | "))
        yield from ((name, call, code) for name in names.split())


def argument_kinds(call: str) -> list[str]:
    """Kinds of the arguments, read from the text: whatever is no literal is a tensor."""
    tree = ast.parse(f"f({call})", mode="eval").body
    assert isinstance(tree, ast.Call)
    return [kind_of(node) for node in tree.args]


def kind_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            return str(node.value).lower()
        return "none" if node.value is None else "number"
    if isinstance(node, (ast.Tuple, ast.List)):
        return "list" if all(isinstance(item, ast.Constant | ast.UnaryOp) for item in node.elts) else "tensors"
    return "number" if isinstance(node, ast.UnaryOp) else "tensor"


@dataclass(frozen=True, slots=True)
class Row:
    """An operator of the table, narrowed to one call."""

    operator: Operator
    parameters: tuple[str, ...]  # of the tensor arguments, in order

    def code(self, tracked: Collection[str]) -> str:
        """S or - a tensor argument, then R or -; ? where the table has no definite answer."""
        answers = {True: "S", False: "-", None: "?"}
        saves = [self.operator.saved(parameter) for parameter in self.parameters]
        letters = ["-" if save is None else answers[save.condition.holds(tracked)] for save in saves]
        result = {True: "R", False: "-", None: "?"}[self.operator.outputs[0].condition.holds(tracked)]
        return "".join(letters) + result


def row(operator: Operator, call: str) -> Row:
    kinds = argument_kinds(call)
    binding = bind(operator, kinds, {})
    assert binding is not None, (operator.name, call, operator.overloads)
    tensors = [name for name, kind in zip(binding.positional, kinds, strict=True) if kind.startswith("tensor")]
    return Row(operator.given(binding.kinds), tuple(tensors))


def spellings(name: str) -> Iterator[Operator]:
    """The function, and the method of the same name."""
    function = torch_ops.function(f"torch.{name}")
    assert function is not None, name
    yield function
    method = torch_ops.method(name) if "." not in name and function.parameters[0] == "input" else None
    if method is not None:
        yield method
