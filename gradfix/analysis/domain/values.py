"""The values of the abstract interpreter: what an expression of the user's program may hold.

Identity matters for storages, tensors, instances and containers, as it does in the program they stand for.
What changes while the program runs (nodes, saves, attributes, items) lives in `state.State`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

from gradfix.analysis.domain.definitions import ClassInfo, FunctionInfo
from gradfix.analysis.facts import Tracked
from gradfix.analysis.imports import Described
from gradfix.torch_ops import ViewKind

_CLOCK = count(1)

# Where a value lost its graph, by id of the expression that cut it; True: it has been added and scaled since, no more.
# 0: perhaps somewhere nobody sees. Below 0, while a function is summarised: before parameter ~n was handed over.
Flows = frozenset[tuple[int, bool]]
NO_FLOWS: Flows = frozenset()


def now() -> int:
    """The next tick of the clock that orders tensor objects and writes."""
    return next(_CLOCK)


class Origin(Enum):
    """Where a storage came from."""

    FRESH = "fresh"  # made by an operation of this function
    ARGUMENT = "argument"  # came in through a parameter of the function analysed
    PARAMETER = "parameter"  # an nn.Parameter
    OUTSIDE = "outside"  # an attribute, a global, the result of an unknown call


@dataclass(frozen=True, slots=True)
class Batch:
    """Over which calls of `torch.vmap` a piece of memory surely is mapped, and over which it surely isn't."""

    inside: frozenset[int] = frozenset()
    outside: frozenset[int] = frozenset()


@dataclass(eq=False, slots=True)
class Storage:
    """One piece of memory."""

    origin: Origin
    name: str | None = None  # the first name the user gave it
    made_by: ast.AST | None = None  # the expression that allocated it, where that is of this file
    batch: Batch | None = None  # None: nothing is known of it
    escaped: bool = False  # a tensor over it got where nobody can be asked who has it


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor object over one storage, or over one of several when the analysis can't tell which."""

    storages: tuple[Storage, ...]
    known: bool = True  # False: nothing proves that this is a tensor at all
    dtype: str | None = None
    floating: bool = False  # of a floating or complex dtype, whichever it is
    shape: tuple[int | None, ...] | None = None
    view: ViewKind = ViewKind.NONE
    path: tuple[str, ...] = ()  # ops that led from the base to this view, first to last
    detached: bool = False  # shares the storage but not the graph
    own: Storage | None = None  # of a detached one: stands for the graph it may get for itself
    silent: bool = False  # writes through it don't bump the version (`.data`, NumPy)
    no_grad_view: bool = False  # a view made while gradients were off
    expanded: bool = False
    overlapping: bool = False  # for certain: several of its elements share one memory cell
    ranked: bool = False  # has dimensions for certain, even if `shape` can't tell how many
    dense: bool = False  # surely contiguous in memory
    transposed: bool = False  # the dimensions lie in memory in another order than they are counted, as after `t()`
    device: str | None = None  # "default" of factories without `device=`; None: unknown
    made_by: ast.AST | None = None
    split_by: ast.AST | None = None  # of a MULTI view: the operation or loop that split the base
    choice: object = None  # which of several memories is meant; equal choices mean the same
    part: tuple[int, int] | None = None  # of one split into several views: which split, and which of its parts
    module_call: bool = False  # the result of a call the analysis couldn't follow
    holders: tuple[Tensor, ...] = ()  # what that call was given, and may have given back, whole or in part
    flows: Flows = NO_FLOWS  # cuts between the graph and this object; those of its memory are in the state
    lineage: tuple[object, ...] = ()  # which part of its memory: the base, and each view on the way to this one
    entries: bool = False  # it was asked for one by name (`batch["x"]`): what a key puts into it is kept
    born: int = 0  # on the clock that writes are stamped with too

    def __post_init__(self) -> None:
        self.born = next(_CLOCK)
        self.lineage = self.lineage or (object(),)

    @property
    def storage(self) -> Storage:
        """The first candidate."""
        return self.storages[0]

    @property
    def graph_keys(self) -> tuple[Storage, ...]:
        """What its graph is kept under."""
        return self.storages if not self.detached else () if self.own is None else (self.own,)

    @property
    def is_view(self) -> bool:
        """True when it is certainly or possibly a view of another tensor."""
        return self.view in (ViewKind.VIEW, ViewKind.MULTI, ViewKind.MAYBE)


@dataclass(frozen=True, slots=True)
class Const:
    """A Python constant, or a tuple of them."""

    value: object


@dataclass(frozen=True, slots=True)
class Number:
    """A Python number that isn't known."""

    type: str | None = None  # "int", "float", "bool" or None
    of_data: bool = False  # taken from a tensor's data: `.item()`, `float(t)`
    source: Tensor | None = None
    flows: Flows = NO_FLOWS  # cuts on its way from the tensors it was computed from


@dataclass(frozen=True, slots=True)
class Array:
    """A NumPy array: the cuts behind it are followed, and the memory it shares with a tensor, or may share."""

    flows: Flows
    memory: Tensor | None = None
    holders: tuple[Tensor, ...] = ()  # whose memory it may share, besides


@dataclass(frozen=True, slots=True)
class Symbol:
    """An importable object, by its qualified name: "torch.nn.functional.relu"."""

    name: str


@dataclass(frozen=True, slots=True)
class Method:
    """A method taken from a value."""

    receiver: Value
    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """A function of this file with the frames it closes over, innermost first."""

    info: FunctionInfo
    frames: tuple[int, ...]
    receiver: Value | None = None
    defaults: tuple[tuple[str, Value], ...] = ()
    grad: Tracked | None = None  # the grad mode that its decorators run it in; None: that of the caller


@dataclass(frozen=True, slots=True)
class Class:
    """A class of this file, as a value."""

    info: ClassInfo
    frames: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Instance:
    """An object whose attributes live on the heap; `info` is its class when that stands in this file."""

    info: ClassInfo | None
    foreign: Described | None = None  # its class, when that stands in another file of the project
    named: str = ""  # the qualified name of that class


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """A module of torch.nn."""

    name: str  # "ReLU"
    inplace: bool = False
    weights: tuple[Storage, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()  # kinds of the constructor's arguments
    chance: Value = Const(1.0)  # how often a dropout layer changes anything
    made_by: ast.AST | None = None
    width: int | None = None  # features that a Linear gives
    doubtful: bool = False  # whether it works in place is for the caller of a constructor to say

    def saves_as(self, other: Layer) -> bool:
        """True when a call of either keeps the same for backward."""
        alike = (self.name, self.inplace, self.settings, self.chance, bool(self.weights))
        same = (other.name, other.inplace, other.settings, other.chance, bool(other.weights))
        return (self.made_by is other.made_by is not None) or alike == same


@dataclass(frozen=True, eq=False, slots=True)
class Optimizer:
    """An optimizer of torch.optim over this memory."""

    parameters: tuple[Storage, ...]
    repeats: bool = False  # a step of it calls its closure several times


@dataclass(frozen=True, eq=False, slots=True)
class Container:
    """A list, tuple, set or dict; items live on the heap."""

    kind: str  # "list", "tuple", "deque", "dict", "set", "layers" (Sequential), "modules" (ModuleList, ModuleDict)
    default: Value | None = None  # of a defaultdict: what makes an item that is missing
    names: Instance | None = None  # of `vars(object)`: whose attributes its items are


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values of different kinds."""

    options: tuple[Value, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Partial:
    """`functools.partial(callee, …)`, or `Class.apply` of an autograd Function."""

    callee: Value
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Suspended:
    """A generator that hasn't begun: its body runs where it is consumed."""

    callee: Function
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]
    at: ast.AST
    numbered: bool = False  # under `enumerate`


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that is certainly not followed as a tensor: strings, modules, files."""

    plain: bool = False  # certainly nothing with a graph: what NumPy, the clock or a file gives
    inside: Value | None = field(default=None, compare=False)  # one of the modules inside this one


@dataclass(frozen=True, slots=True)
class Text(Unknown):
    """A string of which parts are known: `f"w{i}"`."""

    pattern: str = ""  # `{}` where something isn't known


@dataclass(frozen=True, eq=False, slots=True)
class Opaque(Unknown):
    """Something not followed that may hold these: what it gives may be one of them."""

    holds: tuple[Value, ...] = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


UNKNOWN = Unknown()
PLAIN = Unknown(plain=True)
NONE = Const(None)
DEVICE = Symbol("device")  # some torch.device


@dataclass(frozen=True, slots=True)
class Bounds:
    """A slice as a value: `slice(1, None)`, or what the object's own `__getitem__` is given for `obj[1:]`."""


Value = (
    Tensor
    | Bounds
    | Const
    | Number
    | Array
    | Symbol
    | Method
    | Function
    | Class
    | Instance
    | Layer
    | Optimizer
    | Container
    | Partial
    | Suspended
    | Choice
    | Unknown
)


# What may be a tensor or hold one, and whose identity tells one from the other.
HOLDING = frozenset({Tensor, Choice, Container, Instance, Method, Partial, Suspended, Array, Opaque, Function, Layer})
KEEPING = frozenset({Tensor, Container, Instance, Suspended, Opaque, Function, Layer})

_WHOLE = frozenset("bool uint8 int8 int16 int32 int64".split())
WHOLE_ARGUMENT = "?int "  # how the unknown dtype of an argument begins whose name tells of integers


def is_whole(dtype: str | None) -> bool:
    """True for integers and bools: such a tensor never requires grad, whatever is written into it."""
    return dtype is not None and (dtype in _WHOLE or dtype.startswith(WHOLE_ARGUMENT))


def is_unknown(value: Value) -> bool:
    """True for what nothing is known of, whoever it may hold."""
    kind = value.__class__
    return kind is Opaque or (kind is Unknown and value == UNKNOWN)


def options(value: Value) -> tuple[Value, ...]:
    """The values a value may be."""
    return value.options if isinstance(value, Choice) else (value,)


def tensors(value: Value) -> tuple[Tensor, ...]:
    """The tensors a value may be."""
    if value.__class__ is Tensor:
        return (value,)
    if value.__class__ is Choice:
        return tuple(option for option in value.options if isinstance(option, Tensor))
    return ()


def containers(value: Value) -> tuple[Container, ...]:
    """The lists and dicts a value may be."""
    held = value.holds if isinstance(value, Opaque) else options(value)
    return tuple(option for option in held if isinstance(option, Container))


def tensor_of(value: Value) -> Tensor | None:
    """The tensor a value is or may be; of several, the first."""
    found = tensors(value)
    return found[0] if found else None
