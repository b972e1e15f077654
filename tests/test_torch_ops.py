"""The table of torch's operators against lists made by hand; torch itself is asked in `test_torch_ops_truth.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from operator_calls import Row, lines, row, spellings

from gradfix import torch_ops, torch_tables
from gradfix.analysis.domain.overloads import bind, may_be_method
from gradfix.torch_ops import Gradient, Operator, Saved, ViewKind
from gradfix.torch_tables import MINORS

LINES = list(lines())
IDS = [f"{name}({call})" for name, call, _ in LINES]


@pytest.mark.parametrize(("name", "call", "code"), LINES, ids=IDS)
def test_table_agrees_with_the_list(name: str, call: str, code: str) -> None:
    for operator in spellings(name):
        found = row(operator, call)
        assert found.code(found.parameters) == code, operator.name


def test_cross_saved_operands_wait_for_the_other() -> None:
    multiply = row(next(spellings("mul")), "x, y")
    assert [multiply.code({name}) for name in multiply.parameters] == ["-S-", "S--"]
    divide = row(next(spellings("div")), "x, y")
    assert [divide.code({name}) for name in divide.parameters] == ["-S-", "SS-"]
    linear = row(next(spellings("nn.functional.linear")), "x, sq, row")
    assert [linear.code({name}) for name in linear.parameters] == ["-S--", "S---", "----"]
    einsum = torch_ops.function("torch.einsum")
    assert einsum is not None
    assert einsum.saves[0].saved is Saved.IF_OTHER


OPERATORS = {
    ("+", True, True): "---",
    ("*", True, True): "SS-",
    ("*", True, False): "--",
    ("*", False, True): "--",
    ("/", True, True): "SS-",
    ("/", True, False): "--",
    ("/", False, True): "--",
    ("-", False, True): "--",
    ("**", True, False): "S-",
    ("**", False, True): "SR",
    ("**", True, True): "SSR",
    ("%", True, False): "--",
    ("@", True, True): "SS-",
    ("*=", True, True): "-S-",
    ("/=", True, True): "-S-",
    ("+=", True, True): "---",
}


@pytest.mark.parametrize(("symbol", "left", "right"), OPERATORS)
def test_operators_by_the_kind_of_their_operands(symbol: str, left: bool, right: bool) -> None:
    operator = torch_ops.operator(symbol, left_tensor=left, right_tensor=right)
    assert operator is not None
    sides = tuple(name for name, tensor in (("left", left), ("right", right)) if tensor)
    assert Row(operator, sides).code(sides) == OPERATORS[symbol, left, right]


COMPARING = "eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan"
ALWAYS_VIEWS = (
    "view unsqueeze squeeze transpose t permute narrow select diagonal expand movedim detach as_strided T mT data "
    "tensor_split hsplit broadcast_to atleast_1d atleast_2d"
)
MULTI_VIEWS = "unbind split chunk split_with_sizes"
SOMETIMES_VIEWS = "reshape flatten contiguous to float type_as ravel"
NEVER_VIEWS = "clone repeat tile flip roll rot90 index_select gather masked_select relu clamp tril abs mul sum"


def either(name: str) -> Operator | None:
    return torch_ops.attribute(name) or torch_ops.method(name) or torch_ops.function(f"torch.{name}")


def test_views() -> None:
    kinds = {}
    for name in f"{ALWAYS_VIEWS} {MULTI_VIEWS} {SOMETIMES_VIEWS} {NEVER_VIEWS}".split():
        operator = either(name)
        kinds[name] = operator.view if operator else None
    wanted = dict.fromkeys(ALWAYS_VIEWS.split(), ViewKind.VIEW) | dict.fromkeys(MULTI_VIEWS.split(), ViewKind.MULTI)
    wanted |= dict.fromkeys(SOMETIMES_VIEWS.split(), ViewKind.MAYBE) | dict.fromkeys(NEVER_VIEWS.split(), ViewKind.NONE)
    assert kinds == wanted


def test_a_reshape_of_contiguous_memory_is_a_view() -> None:
    reshape = torch_ops.method("reshape")
    assert reshape is not None
    assert reshape.outputs[0].contiguous_view is ViewKind.VIEW


def test_gradients() -> None:
    wanted = {
        Gradient.NO: f"{COMPARING} argmax argsort detach nonzero",
        Gradient.ZERO: "round floor ceil trunc sign",
        Gradient.RAISES: "floor_divide heaviside",
        Gradient.YES: "sum exp clone float gather where",
    }
    for gradient, names in wanted.items():
        for name in names.split():
            operator = either(name)
            assert operator is not None
            narrowed = operator.given(dict.fromkeys(operator.parameters, "tensor")) if name == "where" else operator
            assert narrowed.gradient is gradient, name


def test_comparisons_give_bool_and_reductions_scalars() -> None:
    for name in COMPARING.split():
        operator = torch_ops.function(f"torch.{name}")
        assert operator is not None
        assert operator.outputs[0].dtype == "bool", name
    for name, call, shape in [
        ("sum", "x", "scalar"),
        ("sum", "x, 0", ""),
        ("mean", "x", "scalar"),
        ("max", "x", "scalar"),
        ("nn.functional.mse_loss", "x, y", "scalar"),
        ("nn.functional.cross_entropy", "x, labels", "scalar"),
        ("exp", "x", "same"),
        ("add", "x, y", "broadcast"),
    ]:
        assert row(next(spellings(name)), call).operator.outputs[0].shape == shape, (name, call)


SAME_TWIN = """
abs acos acosh add addbmm addcdiv addcmul addmm addmv addr asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_not
bitwise_or bitwise_xor ceil clamp clamp_max clamp_min clip copysign cos cosh deg2rad digamma div divide erf erfc erfinv
exp exp2 expm1 fix floor floor_divide fmod frac gcd heaviside hypot i0 igamma igammac index_add index_copy index_fill
index_put index_reduce lcm ldexp lerp lgamma log log10 log1p log2 logit masked_fill masked_scatter mul multiply mvlgamma
nan_to_num neg negative nextafter polygamma pow put rad2deg reciprocal relu remainder renorm round rsqrt scatter
scatter_add scatter_reduce sgn sigmoid sign sin sinc sinh sqrt square sub subtract tan tanh tril triu true_divide trunc
xlogy cumsum cumprod
"""
BOOL_TWIN = "eq ge gt le lt ne greater less not_equal logical_and logical_or logical_xor logical_not"
VIEW_TWIN = "t transpose swapaxes swapdims squeeze unsqueeze as_strided detach"
NO_TWIN = {
    "fill": "fill_ zero_ fill_diagonal_",
    "copy": "copy_",
    "random": "bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_",
    "python": "apply_ map_ map2_",
    "storage": "resize_ resize_as_ set_ share_memory_ resize_as_sparse_ sparse_resize_ sparse_resize_and_clear_",
    "graph": "requires_grad_",
}


def test_twins_of_methods() -> None:
    for name in SAME_TWIN.split():
        found = torch_ops.inplace(f"{name}_")
        assert found is not None
        assert (found.twin, found.same_signature, found.is_view, found.same_gradients) == (name, True, False, True)
        assert found.dtype in ("same", "promote"), name
    for name in BOOL_TWIN.split():
        found = torch_ops.inplace(f"{name}_")
        assert found is not None
        assert (found.twin, found.dtype) == (name, "bool")
    for name in VIEW_TWIN.split():
        found = torch_ops.inplace(f"{name}_")
        assert found is not None
        assert (found.twin, found.is_view) == (name, True)


def test_methods_without_a_twin_have_a_category() -> None:
    for category, names in NO_TWIN.items():
        for name in names.split():
            found = torch_ops.inplace(name)
            assert found is not None
            assert (found.twin, found.category) == (None, category), name


def test_every_inplace_method_is_known() -> None:
    """Each has a twin or a reason to have none."""
    inplace_names = {name for name in torch_ops.method_names() if name.endswith("_")}
    assert len(inplace_names) > 150
    for name in inplace_names:
        found = torch_ops.inplace(name)
        assert found is not None
        assert found.twin or found.category, name


def test_twins_of_functions() -> None:
    for name, twin in [("torch.relu_", "relu"), ("torch.nn.functional.elu_", "elu"), ("torch.exp_", "exp")]:
        found = torch_ops.inplace(name)
        assert found is not None
        assert found.twin == twin


def test_inplace_flag_of_functions_and_modules() -> None:
    flagged = "celu dropout elu hardsigmoid hardswish hardtanh leaky_relu mish relu relu6 rrelu selu silu threshold"
    for name in flagged.split():
        assert torch_ops.inplace_flag(f"torch.nn.functional.{name}") is not None, name
    assert torch_ops.inplace_flag("torch.nn.functional.gelu") is None
    modules = "AlphaDropout CELU Dropout Dropout1d Dropout2d Dropout3d ELU FeatureAlphaDropout Hardsigmoid Hardswish"
    for name in f"{modules} Hardtanh LeakyReLU Mish RReLU ReLU ReLU6 SELU SiLU Threshold".split():
        found = torch_ops.module(name)
        assert found is not None
        assert found.takes_inplace, name
        assert found.inplace_call is not None, name
    plain = torch_ops.module("GELU")
    assert plain is not None
    assert not plain.takes_inplace


MODULES = {
    "ReLU Sigmoid Tanh Softmax LogSoftmax": "-R",
    "GELU SiLU ELU LeakyReLU Softplus LogSigmoid Hardtanh Mish MaxPool2d AvgPool2d": "S-",
    "Tanhshrink Identity Flatten ZeroPad2d PixelShuffle": "--",
}


@pytest.mark.parametrize("names", MODULES)
def test_modules_without_parameters(names: str) -> None:
    for name in names.split():
        found = torch_ops.module(name)
        assert found is not None
        assert found.call is not None
        assert found.learns == "no", name
        call = found.call.given(dict.fromkeys(found.call.parameters, "none") | {"training": "true"})
        assert Row(call, (call.parameters[0],)).code({call.parameters[0]}) == MODULES[names], name


def test_modules_with_parameters() -> None:
    for name in "Linear Conv1d Conv2d ConvTranspose2d BatchNorm2d LayerNorm Embedding GRU LSTM PReLU".split():
        found = torch_ops.module(name)
        assert found is not None
        assert found.learns in ("yes", "maybe"), name
    linear = torch_ops.module("Linear")
    assert linear is not None
    assert linear.call is not None
    assert Row(linear.call, ("input",)).code({"weights"}) == "S-"
    assert Row(linear.call, ("input",)).code({"input"}) == "--"
    dropout = torch_ops.module("Dropout")
    assert dropout is not None
    assert dropout.call is not None
    assert dropout.call.given({"training": "false"}).view is ViewKind.SELF
    assert dropout.call.given({"training": "true"}).view is ViewKind.NONE


def test_factories() -> None:
    zeros, tensor, like = (torch_ops.factory(name) for name in ("torch.zeros", "torch.tensor", "torch.zeros_like"))
    assert zeros is not None
    assert (zeros.dtype, zeros.takes_dtype, zeros.takes_requires_grad, zeros.tracked) == ("default", True, True, "")
    assert tensor is not None
    assert (tensor.dtype, tensor.tracked, tensor.shares) == ("value", "no", False)
    assert like is not None
    assert (like.dtype, like.tracked, like.like) == ("same", "no", True)
    shared = torch_ops.factory("torch.as_tensor")
    assert shared is not None
    assert (shared.tracked, shared.shares) == ("yes", True)
    array = torch_ops.factory("torch.from_numpy")
    assert array is not None
    assert array.shares
    whole = torch_ops.factory("torch.randint")
    assert whole is not None
    assert whole.dtype == "int64"
    assert torch_ops.factory("torch.exp") is None


def binding(name: str, args: Sequence[str], **keywords: str) -> tuple[str, ...] | None:
    operator = either(name)
    assert operator is not None
    found = bind(operator, args, keywords)
    return None if found is None else found.positional


def test_arguments_find_their_parameters() -> None:
    assert binding("max", ["tensor", "tensor"]) == ("self", "other")
    assert binding("max", ["tensor", "number"]) == ("self", "dim")
    assert binding("permute", ["tensor", "number", "number"]) == ("self", "dims", "dims")
    assert binding("where", ["tensor", "tensor", "number"]) == ("self", "condition", "other")
    assert binding("masked_fill", ["tensor", "tensor"], value="number") == ("self", "mask")
    assert binding("exp", ["tensor", "number"]) is None
    assert binding("exp", ["tensor"], nonsense="number") is None
    assert binding("clamp", ["tensor", "unknown"]) == ("self", "min")


def test_omitted_arguments_count_with_their_defaults() -> None:
    loss = torch_ops.function("torch.nn.functional.mse_loss")
    assert loss is not None
    bound = bind(loss, ["tensor", "tensor"], {})
    assert bound is not None
    assert bound.kinds["reduction"] == "'mean'"
    assert loss.given(bound.kinds).outputs[0].shape == "scalar"
    assert loss.given({"reduction": "'none'"}).outputs[0].shape == "broadcast"
    assert loss.given({}).outputs[0].shape == ""


def table(minor: str) -> Mapping[str, Any]:
    """The file of a release as it is."""
    path = torch_tables.DATA / f"torch_ops-{minor}.json"
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


BASE = next(minor for minor in MINORS if "base" not in table(minor))


def test_the_data_are_json_sorted_with_one_entry_a_line() -> None:
    files = sorted(torch_tables.DATA.glob("torch_ops-*.json"))
    assert {path.name for path in files} == {f"torch_ops-{minor}.json" for minor in MINORS}
    for minor in MINORS:
        found = table(minor)
        lines = (torch_tables.DATA / f"torch_ops-{minor}.json").read_text(encoding="utf-8").splitlines()
        assert len(lines) == len(found) + 2
        names = [name for name in found if name not in ("torch", "base", "absent")]
        assert names == sorted(names)
        assert minor == ".".join(found["torch"].split(".")[:2])


def test_releases_in_order() -> None:
    assert list(MINORS) == sorted(MINORS, key=lambda minor: tuple(map(int, minor.split("."))))
    assert (MINORS[0], torch_tables.NEWEST) == ("2.4", MINORS[-1])


@pytest.mark.parametrize("minor", [minor for minor in MINORS if minor != BASE])
def test_other_releases_hold_what_differs_and_nothing_else(minor: str) -> None:
    base, own = table(BASE), table(minor)
    assert own["base"] == BASE
    assert set(own["absent"]) <= set(base)
    assert not set(own["absent"]) & set(own)
    assert all(row != base.get(name) for name, row in own.items())
    assert len(own) < len(base) / 10
    whole = torch_tables.lines(minor)
    assert set(whole) == (set(base) | set(own)) - set(own["absent"]) - {"base", "absent"}
    assert all(json.loads(line) == own.get(name, base.get(name)) for name, line in whole.items())


@pytest.mark.parametrize("minor", MINORS)
def test_every_row_can_be_read(minor: str) -> None:
    with torch_tables.of_torch(minor):
        for name, line in torch_tables.lines(minor).items():
            if name in ("torch", "unknown") or name.startswith(("inplace ", "factory ")) or line == "null":
                continue
            assert torch_ops.function(name) is not None, name
        assert torch_ops.torch_version().startswith(minor + ".")


@pytest.mark.parametrize("minor", MINORS)
def test_what_could_not_be_measured_is_not_guessed(minor: str) -> None:
    unknown = torch_tables.row(minor, "unknown")
    assert "torch.cudnn_convolution" in unknown
    with torch_tables.of_torch(minor):
        assert all(torch_ops.function(name) is None for name in unknown)


@pytest.mark.parametrize(
    ("version", "minor"),
    [
        ("2.4.1+cpu", "2.4"),
        ("2.4", "2.4"),
        ("2.9.0", "2.4"),
        ("2.13.0", "2.13"),
        ("2.13.0a0+git123", "2.13"),
        ("1.13.1", "2.4"),
        ("3.0", MINORS[-1]),
        ("nightly", MINORS[-1]),
        (None, MINORS[-1]),
    ],
)
def test_the_table_of_a_version(version: str | None, minor: str) -> None:
    assert torch_tables.nearest(version) == minor


def test_the_chosen_table_answers_until_the_choice_ends() -> None:
    def saved() -> Saved:
        found = torch_ops.function("torch.ldexp")
        assert found is not None
        return found.saves_result

    assert torch_tables.chosen() == torch_tables.NEWEST
    newest = torch_ops.method_names()
    with torch_tables.of_torch("2.4"):
        assert (torch_ops.torch_version(), saved()) == ("2.4.1", Saved.NEVER)
        with torch_tables.of_torch("2.13"):
            assert saved() is Saved.ALWAYS
        assert "hash_tensor" not in torch_ops.method_names()
    assert torch_ops.method_names() == newest
    assert "hash_tensor" in newest


def test_reading_the_table_decodes_the_rows_asked_for_and_imports_no_torch() -> None:
    program = (
        "import json, sys, gradfix.torch_ops as ops\n"
        "decoded, loads = [], json.loads\n"
        "json.loads = lambda text: decoded.append(len(text)) or loads(text)\n"
        "assert ops.method('exp') and ops.function('torch.softmax')\n"
        "assert 'torch' not in sys.modules\n"
        "assert sum(decoded) < 5_000, decoded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_how_many_arguments_methods_take_by_position() -> None:
    takes = [("exp", 0), ("matmul", 1), ("sum", 2), ("permute", 7), ("view", 4), ("float", 1), ("no_such_method", 9)]
    assert [name for name, count in takes if not may_be_method(name, count)] == []
    assert [
        name for name, count in [("exp", 1), ("matmul", 2), ("add_", 2), ("sum", 3)] if may_be_method(name, count)
    ] == []
