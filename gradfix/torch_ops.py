"""What torch's operators do to autograd: what each saves, what it returns, which in-place twin it has.

The facts are data (see `gradfix.torch_tables`), measured on several releases of torch by `scripts/make_torch_ops.py`:
each call was followed by a write to one tensor and a backward. Names are the user's: `Tensor.exp`, `torch.exp`,
`torch.nn.functional.relu`. Nothing here imports torch. Answers are those of the release that `torch_tables.of_torch`
chose, else of the newest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from gradfix import torch_tables

ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag", "data"})

# kinds of arguments, as `Operator.given` takes them; a string argument is its literal in quotes: "'none'"
KINDS = ("tensor", "tensors", "number", "list", "none", "true", "false", "dtype", "other", "unknown")


class Saved(Enum):
    """When an operator saves a tensor for backward."""

    NEVER = "never"
    ALWAYS = "always"  # whenever anything is recorded
    IF_OTHER = "if-other"  # when another operand requires grad: `x * w` saves x for w's gradient
    IF_SELF = "if-self"  # when this operand itself requires grad
    MAYBE = "maybe"  # the condition has the details


class ViewKind(Enum):
    """How an output is related to the storage of an argument."""

    NONE = "none"  # new storage
    VIEW = "view"  # always shares storage
    MULTI = "multi"  # one of several views of the same base: an in-place write raises
    MAYBE = "maybe"  # shares or copies, depending on the input
    SELF = "self"  # the very same object


class Gradient(Enum):
    """Whether gradient passes to an output."""

    YES = "yes"
    ZERO = "zero"  # connected, but the gradient is zero (round, sign)
    NO = "no"  # leaves the graph (argmax, comparisons, detach)
    MIXED = "mixed"  # depends on the call
    RAISES = "raises"  # backward raises: no derivative is implemented


@dataclass(frozen=True, slots=True)
class Condition:
    """When a value is saved: if any of `causes` requires grad; `maybe` are causes for which calls disagreed."""

    always: bool = False
    causes: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    across: tuple[str, ...] = ()  # causes that are lists: another element of the list must require grad (einsum)

    def holds(self, tracked: Collection[str]) -> bool | None:
        """Given the parameters whose arguments require grad: True, False, or None when that does not tell."""
        if (tracked and self.always) or any(name in tracked for name in self.causes):
            return True
        return None if any(name in tracked for name in (*self.maybe, *self.across)) else False


@dataclass(frozen=True, slots=True)
class ArgumentSave:
    """What happens to one tensor argument. In a list of tensors, all elements count as one argument."""

    parameter: str
    position: int | None  # among the parameters, receiver included; None: keyword only or unknown
    saved: Saved
    condition: Condition
    dense_only: bool  # of an argument that is not contiguous, a copy may be saved instead


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of the result."""

    saved: Saved
    condition: Condition
    gradient: Gradient
    view: ViewKind
    contiguous_view: ViewKind  # the same for contiguous arguments: `reshape` of those is a view
    view_of: tuple[str, ...]  # the parameters it may share storage with
    shape: str  # "scalar" (0-d), "same" (as the first tensor), "broadcast", "" unknown
    # "same" as the first tensor, "promote" (torch.result_type of the tensors), "promote-numbers" (and of the numbers),
    # "same-float", "float" (the default dtype for integers), "sum" (int64 for integers), "real"; or fixed; "" unknown
    dtype: str
    many: bool  # stands for a varying number of outputs


@dataclass(frozen=True, slots=True)
class Operator:
    """A function or method. `given` narrows it to the kinds of a call's arguments."""

    name: str
    parameters: tuple[str, ...]  # of a module: those of its call, then those of its constructor
    result: str  # "tensor", "tuple", "list", "number", "bool", "none", "other", "mixed"
    saves: tuple[ArgumentSave, ...]  # the arguments that are ever saved
    outputs: tuple[Output, ...]
    tracked: tuple[str, ...]  # tensor parameters that get a gradient
    mutates: tuple[str, ...]  # parameters some calls write to (running statistics)
    unguarded: tuple[str, ...]  # values that backward reads without a version check: a write goes unnoticed
    split_on: str  # the parameter whose kind tells the cases apart, "" when there are none
    cases: Mapping[str, Operator]
    overloads: tuple[str, ...]  # `input:T dim:N keepdim:B=false`: see gradfix.analysis.domain.overloads
    constructor: tuple[str, ...]  # of a module, written alike

    def given(self, kinds: Mapping[str, str]) -> Operator:
        """The case for kinds of arguments such as {"other": "number"} (see `KINDS`); the join of all if unknown."""
        kind = kinds.get(self.split_on)
        if kind == "none" and kind not in self.cases:
            kind = self.default(self.split_on)
        case = self.cases.get(kind) if kind is not None else None
        return self if case is None else case.given(kinds)

    def default(self, parameter: str) -> str | None:
        """The kind of a parameter's default, None when it has none."""
        words = (word for overload in (*self.overloads, *self.constructor) for word in overload.split() if "=" in word)
        return next((word.partition("=")[2] for word in words if word.strip("*").startswith(f"{parameter}:")), None)

    @property
    def saves_result(self) -> Saved:
        """Whether the first output is saved."""
        return self.outputs[0].saved if self.outputs else Saved.NEVER

    @property
    def view(self) -> ViewKind:
        """Kinship of the first output with an argument's storage."""
        return self.outputs[0].view if self.outputs else ViewKind.NONE

    @property
    def gradient(self) -> Gradient:
        """Whether gradient passes to the first output."""
        return self.outputs[0].gradient if self.outputs else Gradient.NO

    def saved(self, parameter: str) -> ArgumentSave | None:
        """The entry of a parameter, None when it is never saved."""
        return next((save for save in self.saves if save.parameter == parameter), None)


@dataclass(frozen=True, slots=True)
class InplaceMethod:
    """A function that writes to its first argument: `Tensor.exp_`, `torch.relu_`."""

    name: str
    twin: str | None  # bare name of the out-of-place form with equal values; None: there is none
    same_gradients: bool  # False: `logical_not_` hands the gradient through, its twin leaves the graph
    same_signature: bool  # the twin takes the same arguments
    dtype: str  # of the twin's result: "same" as the target, "bool", or "promote" (may be wider: cast it back)
    is_view: bool  # the twin returns a view: `t_` -> `t`
    category: str  # why there is no twin: "fill", "copy", "random", "python", "storage", "graph"; else ""
    operator: Operator | None  # what the in-place form saves; None when no call of it was measured


@dataclass(frozen=True, slots=True)
class Factory:
    """A function that makes a tensor from shapes or Python values."""

    name: str
    dtype: str  # "default" (torch.get_default_dtype), "same" as a tensor argument, "value", or a fixed one
    takes_dtype: bool
    takes_requires_grad: bool
    tracked: str  # made of a tensor with a graph, the result has it too: "yes", "no", "maybe"; "" takes no such tensor
    shares: bool  # the result may share its argument's storage (as_tensor, from_numpy)
    like: bool  # the first argument is the model: `zeros_like(x)`, `x.new_zeros`


@dataclass(frozen=True, slots=True)
class NnModule:
    """A class of torch.nn. In its operators the parameter `weights` stands for all parameters of the module."""

    name: str
    takes_inplace: bool
    learns: str  # has parameters: "yes", "no", "maybe" (depends on the constructor)
    call: Operator | None  # cases by constructor arguments and by `training`; None when unmeasured
    inplace_call: Operator | None  # the same with inplace=True


def method(name: str) -> Operator | None:
    """The Tensor method `name`; None when it is not in the table."""
    return _operator(f"Tensor.{name}")


def function(qualified: str) -> Operator | None:
    """`torch.exp`, `torch.nn.functional.relu`, `torch.linalg.inv`, ...; None when it is not in the table."""
    return _operator(qualified)


def method_names() -> frozenset[str]:
    """The names of all Tensor methods in the table."""
    return _method_names(torch_tables.chosen())


@cache
def _method_names(minor: str) -> frozenset[str]:
    names = (name for name in torch_tables.lines(minor) if name.startswith("Tensor.") and " " not in name)
    return frozenset(name.removeprefix("Tensor.") for name in names) - ATTRIBUTES


def attribute(name: str) -> Operator | None:
    """The Tensor attribute `name` that is itself a tensor: one of `ATTRIBUTES`."""
    return _operator(f"Tensor.{name}") if name in ATTRIBUTES else None


def operator(symbol: str, *, left_tensor: bool, right_tensor: bool) -> Operator | None:
    """Python's binary operator on a tensor and a tensor or number; parameters `left` and `right`. `+=` is in place."""
    kinds = f"{'tensor' if left_tensor else 'number'} {'tensor' if right_tensor else 'number'}"
    return _operator(f"{symbol} {kinds}")


def unary(symbol: str) -> Operator | None:
    """`-`, `+`, `~`, and the builtins `abs`, `bool`, `int`, `float`, `len`, `iter` on a tensor; parameter `operand`."""
    return _operator(f"unary {symbol}" if symbol in ("-", "+", "~") else symbol)


def getitem(index: str) -> Operator | None:
    """`x[index]` by its kind: int, slice, none, ellipsis, basic (a tuple), mask, index (integers), list, advanced."""
    return _operator(f"[] {index}")


def setitem(index: str) -> Operator | None:
    """`x[index] = value`, kinds of indices as in `getitem`; parameters `self`, `index`, `value`."""
    return _operator(f"[]= {index}")


def inplace_flag(qualified: str) -> Operator | None:
    """A function called with `inplace=True`: `torch.nn.functional.relu`; None when it takes no such flag."""
    return _operator(f"{qualified} inplace")


def inplace(name: str) -> InplaceMethod | None:
    """`exp_` (the Tensor method) or a qualified function (`torch.relu_`, `torch.nn.functional.relu_`)."""
    return _inplace(torch_tables.chosen(), name if "." in name else f"Tensor.{name}")


@cache
def _inplace(minor: str, qualified: str) -> InplaceMethod | None:
    row = torch_tables.row(minor, f"inplace {qualified}")
    if row is None:
        return None
    twin = row.get("twin")
    return InplaceMethod(
        name=qualified.rpartition(".")[2],
        twin=None if twin is None else twin.rpartition(".")[2],
        same_gradients=twin is not None and row.get("gradients") != "differ",
        same_signature=bool(row.get("signature")),
        dtype=row.get("dtype", ""),
        is_view=bool(row.get("view")),
        category=row.get("category", ""),
        operator=_row_of(minor, qualified),
    )


def factory(qualified: str) -> Factory | None:
    """`torch.zeros`, `Tensor.new_zeros`, `torch.tensor`, ...; None when it makes no tensor or is not in the table."""
    return _factory(torch_tables.chosen(), qualified)


@cache
def _factory(minor: str, qualified: str) -> Factory | None:
    row = torch_tables.row(minor, f"factory {qualified}")
    if row is None:
        return None
    takes = row.get("takes", ())
    return Factory(
        name=qualified,
        dtype=row["dtype"],
        takes_dtype="dtype" in takes,
        takes_requires_grad="requires_grad" in takes,
        tracked=row.get("tracked", ""),
        shares=bool(row.get("shares")),
        like=bool(row.get("like")),
    )


def module(class_name: str) -> NnModule | None:
    """A class of torch.nn by its bare name (`ReLU`); None when it is not in the table."""
    return _module(torch_tables.chosen(), class_name)


@cache
def _module(minor: str, class_name: str) -> NnModule | None:
    if f"module {class_name}" not in torch_tables.lines(minor):
        return None
    row = torch_tables.row(minor, f"module {class_name}") or {}
    return NnModule(
        name=class_name,
        takes_inplace=bool(row.get("inplace")),
        learns=row.get("learns", "maybe"),
        call=_row_of(minor, f"module {class_name}"),
        inplace_call=_row_of(minor, f"module {class_name} inplace"),
    )


def torch_version() -> str:
    """The torch release the table was measured on."""
    return str(torch_tables.row(torch_tables.chosen(), "torch"))


def _operator(name: str) -> Operator | None:
    return _row_of(torch_tables.chosen(), name)


@cache
def _row_of(minor: str, name: str) -> Operator | None:
    row = torch_tables.row(minor, name)
    if isinstance(row, str) and name != "torch":
        row = _as_method(torch_tables.row(minor, row))  # a method that equals its function is stored as its name
    return _build(name, row) if isinstance(row, dict) else None


def _as_method(row: Any) -> Any:
    """A function's row with the receiver called `self`."""
    if isinstance(row, dict):
        return {"self" if key == "input" else key: _as_method(value) for key, value in row.items()}
    if isinstance(row, list):
        return [_as_method(item) for item in row]
    if isinstance(row, str) and "input" in row:
        return " ".join("self" + word[5:] if _RECEIVER.fullmatch(word) else word for word in row.split())
    return row


_RECEIVER = re.compile(r"input([?~]|:.*)?")
_PARAMETER = re.compile(r"(\w+):")


def _build(name: str, row: Mapping[str, Any]) -> Operator:
    plain = {key: value for key, value in row.items() if key not in ("on", "cases")}
    overloads, constructor = tuple(row["overloads"]), tuple(row.get("constructor") or ())
    parameters = tuple(dict.fromkeys(_PARAMETER.findall(" ".join((*overloads, *constructor)))))
    escaping = row.get("escaping") or ()
    return Operator(
        name=name,
        parameters=parameters,
        result=row["kind"],
        saves=tuple(_save(key, text, parameters, key in escaping) for key, text in (row.get("saves") or {}).items()),
        outputs=tuple(_output(entry, row) for entry in row.get("outputs") or ()),
        tracked=tuple(row.get("tracked") or ()),
        mutates=tuple(row.get("mutates") or ()),
        unguarded=tuple(row.get("silent") or ()),
        split_on=row.get("on") or "",
        cases={kind: _build(name, plain | case) for kind, case in (row.get("cases") or {}).items()},
        overloads=overloads,
        constructor=constructor,
    )


def _save(parameter: str, text: str, parameters: tuple[str, ...], dense_only: bool) -> ArgumentSave:
    position = parameters.index(parameter) if parameter in parameters else None
    return ArgumentSave(parameter, position, _saved(parameter, text), _condition(text), dense_only)


def _condition(text: str) -> Condition:
    """From `*` (any parameter), or names: `x` is a cause, `x?` at times, `x~` another element of the list x."""
    if text == "*":
        return Condition(always=True)
    words = text.split()
    maybe, across = (tuple(word[:-1] for word in words if word[-1] == mark) for mark in "?~")
    return Condition(causes=tuple(word for word in words if word[-1] not in "?~"), maybe=maybe, across=across)


def _saved(parameter: str, text: str) -> Saved:
    """The word for a condition text; `parameter` is the one that is saved, "" for a result."""
    if text == "*":
        return Saved.ALWAYS
    if not text:
        return Saved.NEVER
    if "?" in text:
        return Saved.MAYBE
    if text == parameter + "~":
        return Saved.IF_OTHER
    if text == parameter:
        return Saved.IF_SELF
    return Saved.MAYBE if parameter in text.split() else Saved.IF_OTHER


def _output(entry: Mapping[str, str], row: Mapping[str, Any]) -> Output:
    text = entry.get("saved", "")
    view = ViewKind(entry.get("view", "none"))
    view = ViewKind.MULTI if row.get("multi") and view is ViewKind.VIEW else view
    return Output(
        saved=_saved("", text),
        condition=_condition(text),
        gradient=Gradient(entry.get("gradient", "yes")),
        view=view,
        contiguous_view=ViewKind(entry["dense"]) if "dense" in entry else view,
        view_of=tuple(entry.get("of", "").split()),
        shape=entry.get("shape", "").replace("mixed", ""),
        dtype=entry.get("dtype", "").replace("other", ""),
        many="many" in entry,
    )
