"""What torch offers, as templates: `{a}`, `{b}` stand for operands. Taken from torch's documentation and from which op
keeps what for backward; nothing here knows of gradfix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unary:
    """An elementwise op or one that keeps the shape."""

    template: str
    positive: bool = False  # its result is positive wherever it is finite
    domain: str = "any"  # "positive": only for operands known to be positive
    rank: int = 0  # the least number of dimensions it takes


KEEPS_RESULT = (
    Unary("{a}.exp()", positive=True),
    Unary("torch.exp({a})", positive=True),
    Unary("{a}.sigmoid()", positive=True),
    Unary("torch.sigmoid({a})", positive=True),
    Unary("F.sigmoid({a})", positive=True),
    Unary("{a}.tanh()"),
    Unary("torch.tanh({a})"),
    Unary("F.tanh({a})"),
    Unary("{a}.relu()"),
    Unary("F.relu({a})"),
    Unary("torch.relu({a})"),
    Unary("{a}.expm1()"),
    Unary("torch.exp2({a})", positive=True),
    Unary("{a}.sqrt()", positive=True, domain="positive"),
    Unary("torch.sqrt({a})", positive=True, domain="positive"),
    Unary("{a}.rsqrt()", positive=True, domain="positive"),
    Unary("{a}.reciprocal()", positive=True, domain="positive"),
    Unary("{a}.softmax(-1)", positive=True, rank=1),
    Unary("F.softmax({a}, dim=-1)", positive=True, rank=1),
    Unary("torch.log_softmax({a}, dim=-1)", rank=1),
    Unary("F.log_softmax({a}, dim=0)", rank=1),
    Unary("nn.Sigmoid()({a})", positive=True),
    Unary("nn.Softmax(dim=-1)({a})", positive=True, rank=1),
    Unary("F.normalize({a}, dim=0)", rank=1),
)
KEEPS_INPUT = (
    Unary("{a}.sin()"),
    Unary("torch.sin({a})"),
    Unary("{a}.cos()"),
    Unary("torch.cos({a})"),
    Unary("{a}.log()", domain="positive"),
    Unary("torch.log({a})", domain="positive"),
    Unary("{a}.log1p()", domain="positive"),
    Unary("{a}.abs()"),
    Unary("torch.abs({a})"),
    Unary("{a}.square()"),
    Unary("{a}.pow(2)"),
    Unary("{a} ** 2"),
    Unary("{a} ** 3"),
    Unary("{a} * {a}"),
    Unary("torch.atan({a})"),
    Unary("{a}.erf()"),
    Unary("{a}.sinh()"),
    Unary("F.silu({a})"),
    Unary("F.gelu({a})"),
    Unary("F.softplus({a})", positive=True),
    Unary("F.elu({a})"),
    Unary("F.leaky_relu({a}, 0.1)"),
    Unary("F.logsigmoid({a})"),
    Unary("F.hardtanh({a})"),
    Unary("F.mish({a})"),
    Unary("{a}.clamp(-1, 1)"),
    Unary("torch.clamp({a}, min=0.1)", positive=True),
    Unary("{a}.nan_to_num()"),
    Unary("nn.SiLU()({a})"),
    Unary("nn.ELU()({a})"),
    Unary("nn.GELU()({a})"),
    Unary("{a} / {a}.norm()"),
    Unary("{a} - {a}.std()", rank=1),
)
KEEPS_BOTH = (
    Unary("{a}.cumprod(0)", rank=1),
    Unary("{a}.logcumsumexp(0)", rank=1),
    Unary("{a} - {a}.logsumexp(-1, keepdim=True)", rank=1),
    Unary("{a} / {a}.max()"),
    Unary("2.0 ** {a}", positive=True),
)
KEEPS_NOTHING = (
    Unary("-{a}"),
    Unary("{a}.neg()"),
    Unary("{a} + 1"),
    Unary("{a} - 0.5"),
    Unary("2 - {a}"),
    Unary("{a} * 2"),
    Unary("0.5 * {a}"),
    Unary("{a} / 3"),
    Unary("{a}.clone()"),
    Unary("torch.clone({a})"),
    Unary("{a}.mul(1.5)"),
    Unary("{a}.add(0.25)"),
    Unary("torch.add({a}, 1, alpha=2)"),
    Unary("{a}.cumsum(0)", rank=1),
    Unary("{a}.flip(0)", rank=1),
    Unary("torch.roll({a}, 1, 0)", rank=1),
    Unary("{a}.tril()", rank=2),
    Unary("torch.triu({a})", rank=2),
    Unary("{a} - {a}.mean()"),
    Unary("{a} - {a}.mean(-1, keepdim=True)", rank=1),
    Unary("F.dropout({a}, 0.4)"),
    Unary("{a}.sort(0).values", rank=1),
)
UNARY = {
    "result": KEEPS_RESULT,
    "input": KEEPS_INPUT,
    "both": KEEPS_BOTH,
    "nothing": KEEPS_NOTHING,
}

# Two operands of the same shape.
BINARY = (
    "{a} + {b}",
    "{a} - {b}",
    "torch.add({a}, {b})",
    "{a} * {b}",
    "{a} * {b}",
    "torch.mul({a}, {b})",
    "{a}.mul({b})",
    "{a} / ({b}.abs() + 1)",
    "{a} / ({b} ** 2 + 1)",
    "torch.maximum({a}, {b})",
    "torch.minimum({a}, {b})",
    "torch.atan2({a}, {b})",
    "torch.lerp({a}, {b}, 0.3)",
    "torch.addcmul({a}, {b}, {a})",
    "torch.where({b} > 0, {a}, {b})",
    "torch.where({a} > {b}, {a}, 0.0)",
    "torch.logaddexp({a}, {b})",
    "{a} + 0.1 * {b}",
    "{a}.masked_fill({b} < 0, 0.0)",
)
# To a scalar.
REDUCTIONS = (
    "{a}.sum()",
    "{a}.mean()",
    "torch.sum({a})",
    "{a}.norm()",
    "{a}.pow(2).sum()",
    "({a} ** 2).mean()",
    "{a}.prod()",
    "{a}.var()",
    "{a}.max()",
    "{a}.logsumexp(-1).sum()",
    "{a}.abs().sum()",
)
# Views of the same shape, or of one that later code can use; `{a}` has rank >= 1.
SAME_VIEWS = ("{a}.view({shape})", "{a}[:]", "{a}[...]", "{a}.view_as({a})", "{a}.reshape({shape})", "{a}.contiguous()")

# In-place methods without an operand: name with arguments, needs a positive operand, least rank.
METHODS = (
    ("exp_()", False, 0),
    ("sigmoid_()", False, 0),
    ("tanh_()", False, 0),
    ("relu_()", False, 0),
    ("abs_()", False, 0),
    ("neg_()", False, 0),
    ("sin_()", False, 0),
    ("square_()", False, 0),
    ("pow_(2)", False, 0),
    ("zero_()", False, 0),
    ("fill_(0.5)", False, 0),
    ("clamp_(min=0)", False, 0),
    ("clamp_(-1, 1)", False, 0),
    ("clamp_min_(0.1)", False, 0),
    ("add_(1)", False, 0),
    ("sub_(0.5)", False, 0),
    ("mul_(2)", False, 0),
    ("mul_(0.5)", False, 0),
    ("div_(2)", False, 0),
    ("round_()", False, 0),
    ("nan_to_num_()", False, 0),
    ("sqrt_()", True, 0),
    ("log_()", True, 0),
    ("rsqrt_()", True, 0),
    ("reciprocal_()", True, 0),
    ("cumsum_(0)", False, 1),
    ("tril_()", False, 2),
    ("triu_()", False, 2),
    ("fill_diagonal_(0.0)", False, 2),
    ("normal_()", False, 0),
    ("uniform_()", False, 0),
    ("gt_(0)", False, 0),
    ("index_fill_(0, torch.tensor([0]), 0.5)", False, 1),
)
# In-place methods with an operand of the same shape, or one that broadcasts to it.
METHODS_WITH_VALUE = (
    "add_({v})",
    "sub_({v})",
    "mul_({v})",
    "div_({v}.abs() + 1)",
    "add_({v}, alpha=0.5)",
    "copy_({v})",
    "lerp_({v}, 0.3)",
    "addcmul_({v}, {v})",
    "masked_fill_({v} > 0, 0.0)",
    "clamp_(max={v})",
)
# Functions that write their argument.
FUNCTIONS = (
    "torch.relu_({t})",
    "torch.exp_({t})",
    "torch.sigmoid_({t})",
    "torch.tanh_({t})",
    "torch.neg_({t})",
    "torch.abs_({t})",
    "torch.clamp_({t}, min=0.0)",
    "F.relu_({t})",
    "F.leaky_relu_({t}, 0.1)",
    "F.elu_({t})",
    "F.relu({t}, inplace=True)",
    "F.relu({t}, True)",
    "F.leaky_relu({t}, 0.2, inplace=True)",
    "F.elu({t}, inplace=True)",
    "F.silu({t}, inplace=True)",
    "F.hardtanh({t}, inplace=True)",
    "F.dropout({t}, 0.4, inplace=True)",
    "F.dropout({t}, p=0.3, training=True, inplace=True)",
    "F.threshold({t}, 0.1, 0.0, inplace=True)",
    "nn.ReLU(inplace=True)({t})",
    "nn.ReLU(True)({t})",
    "nn.LeakyReLU(0.1, inplace=True)({t})",
    "nn.init.zeros_({t})",
)
AUGMENTED = ("+=", "+=", "+=", "-=", "*=", "*=", "/=")

# Layers of a module: constructor with `{n}` features, and whether it takes a width.
LAYERS = (
    "nn.Linear({n}, {n})",
    "nn.Linear({n}, {n})",
    "nn.Linear({n}, {n}, bias=False)",
    "nn.LayerNorm({n})",
    "nn.ReLU()",
    "nn.ReLU(inplace=True)",
    "nn.ReLU(True)",
    "nn.LeakyReLU(0.1, inplace=True)",
    "nn.SiLU(inplace=True)",
    "nn.ELU(inplace=True)",
    "nn.Hardtanh(inplace=True)",
    "nn.Sigmoid()",
    "nn.Tanh()",
    "nn.GELU()",
    "nn.Softplus()",
    "nn.Softmax(dim=-1)",
    "nn.Dropout(0.3)",
    "nn.Dropout(0.2, inplace=True)",
    "nn.Identity()",
    "nn.Sequential(nn.Linear({n}, {n}), nn.ReLU(inplace=True))",
    "nn.Sequential(nn.Linear({n}, {n}), nn.Tanh(), nn.Linear({n}, {n}))",
    "nn.Sequential(nn.Sigmoid(), nn.ReLU(inplace=True))",
    "nn.Sequential(nn.LayerNorm({n}), nn.Linear({n}, {n}))",
)
