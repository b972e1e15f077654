"""What a call of a function of another file does to its arguments, as autograd sees it: frozen values.

A function is summarised by its parameters and, for one or several sets of constants among them, by what happens when
the others are tensors: first the writes, then what is kept for backward, then the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradfix.analysis.cut_kinds import Elsewhere
from gradfix.analysis.graph_ends import NOTHING, Behind

Constant = bool | int | float | str | None
# (parameter, name of the type, value) of arguments that are constants, of lists of tensors, and of modules.
Given = tuple[tuple[int, str, Constant], ...]
LISTS = frozenset({"list", "tuple", "dict"})  # the types of which no value is told
OPTIMIZER = "optimizer"  # the type of one of torch.optim
# The type of a module with parameters; its value is the qualified name of its class, if that is known.
NETWORK = "network"

_FLAGS = 3  # switches of a function that its summary tells apart
_LISTS = 2  # parameters that may be lists


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function; a `default` of `...` in the source, or a computed one, isn't constant."""

    name: str
    by_position: bool = True
    by_name: bool = True
    has_default: bool = False
    is_constant: bool = False  # the default is the constant `default`
    default: Constant = None
    gathers: bool = False  # `*rest`


@dataclass(frozen=True, slots=True)
class Written:
    """An argument is written in place."""

    parameter: int
    line: int
    text: str  # of the statement, on one line
    certain: bool  # whenever the function is called
    through_view: bool = False  # a part of it
    gradients_off: bool = False
    behind: Behind = NOTHING  # of what it holds then


@dataclass(frozen=True, slots=True)
class Kept:
    """Backward keeps an argument, or (`memory` is negative) what the function returns."""

    memory: int
    op: str
    line: int
    certain: bool
    when: tuple[int, ...] | None = None  # parameters of which one has to require grad; None: always
    behind: tuple[int, ...] = ()  # parameters that backward gets to from there


@dataclass(frozen=True, slots=True)
class Graph:
    """What stands behind a tensor after the call."""

    parameters: tuple[tuple[int, bool], ...] = ()  # (which, True: on every way)
    kept: tuple[tuple[int, bool], ...] = ()  # places in `Effects.kept` that backward passes
    inner: tuple[int, ...] = ()  # places in `Effects.inner` that backward passes on every way
    own: str = "no"  # a value of `Tracked`: leaves of the function's own, as the weights of a module


@dataclass(frozen=True, slots=True)
class Inner:
    """Operations inside the function that keep something, all behind the same results: backward frees it once."""

    parameters: tuple[tuple[int, bool], ...]  # that they depend on, as in `Graph`
    own: str  # as in `Graph`
    keeps: str  # a value of `Tracked`


@dataclass(frozen=True, slots=True)
class Event:
    """A backward pass that the function starts, or what it has an optimizer do."""

    kind: str  # "backward", or the method of the optimizer: "step", "zero_grad"
    place: Elsewhere
    certain: bool  # whenever the function is called
    written: tuple[int, ...] = ()  # parameters that are written before it
    parameter: int | None = None  # which is the optimizer, or is differentiated itself
    graph: Graph | None = None  # behind what is differentiated, where that was computed
    behind: Behind = NOTHING  # not sure, too, where something may have been asked to require grad
    ends: tuple[int, ...] | None = None  # parameters it goes back to, none if nobody knows; None: to every leaf
    has_gradient: bool = False
    retained: bool = False
    accumulates: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory the function made, or holds, and hands out."""

    graph: Graph | None
    outside: bool = False  # somebody else holds it, too
    behind: Behind = NOTHING
    is_leaf: bool = False  # that surely requires grad


@dataclass(frozen=True, slots=True)
class Built:
    """A module of torch.nn that a function returns, new for each call."""

    name: str  # "Linear"
    learns: str = "no"  # "yes", "maybe", "no": whether it has parameters that require grad
    settings: tuple[tuple[str, str], ...] = ()  # kinds of the constructor's arguments
    chance: float | None = 1.0  # how often a dropout layer changes anything; None: not known


@dataclass(frozen=True, slots=True)
class Returned:
    """What a function returns; fields beside `kind` say more of some kinds."""

    # "tensor", "number", "array", "constant", "tuple", "list", "dict", "one of", "unknown", and modules: "layer" of
    # torch.nn, "layers" of a Sequential, "object" of a class of the project
    kind: str
    memories: tuple[int, ...] = ()  # of a tensor: parameters, and ~n for the n-th memory; several: one of them
    view: str = "none"  # a value of `ViewKind`
    detached: bool = False
    expanded: bool = False  # a view in which several elements may share one memory cell
    dtype: str | None = None
    floating: bool = False
    type: str | None = None  # of a number; the qualified name of the class of an object
    value: Constant = None  # of a constant
    items: tuple[Returned, ...] = ()
    keys: tuple[str, ...] = ()  # of a dict
    behind: Behind = NOTHING  # of a number, an array, a detached tensor
    built: Built | None = None  # a layer

    def holds_module(self) -> bool:
        """Whether it is a module, or a list with one."""
        return self.kind in ("layer", "layers", "object") or any(item.holds_module() for item in self.items)


@dataclass(frozen=True, slots=True)
class Effects:
    """What a call does where the arguments in `given` are those constants."""

    given: Given = ()
    written: tuple[Written, ...] = ()
    graphs: tuple[tuple[int, Graph | None], ...] = ()  # of arguments that are written: what stands behind them then
    kept: tuple[Kept, ...] = ()
    memories: tuple[Memory, ...] = ()
    returned: Returned = Returned("unknown")
    inner: tuple[Inner, ...] = ()
    events: tuple[Event, ...] = ()  # in their order


def nameless(given: Given) -> Given:
    """The same without the classes of modules."""
    return tuple((place, kind, "" if kind == NETWORK else value) for place, kind, value in given)


def usual(parameters: Sequence[Parameter]) -> Given:
    """The constants of a call that leaves every default alone."""
    return tuple((i, type(p.default).__name__, p.default) for i, p in enumerate(parameters) if p.is_constant)


def told_apart(
    parameters: Sequence[Parameter], networks: Sequence[int], optimizers: Sequence[int] = ()
) -> tuple[Given, ...]:
    """The calls that a summary tells apart, the one for any arguments last; `networks`, `optimizers`: parameters that
    may be some."""
    defaults = usual(parameters)
    flags = [i for i, (_, kind, _) in enumerate(defaults) if kind == "bool"][:_FLAGS]
    sets = [defaults] if defaults else []
    sets += [(*defaults[:i], (defaults[i][0], "bool", not defaults[i][2]), *defaults[i + 1 :]) for i in flags]
    lists = [place for place, p in enumerate(parameters) if not p.has_default][:_LISTS]
    sets += [tuple(sorted((*defaults, (place, "list", None)))) for place in lists]
    learning = tuple((place, NETWORK, "") for place in networks)
    stepping = tuple((place, OPTIMIZER, None) for place in optimizers)
    for some in dict.fromkeys((learning, stepping, (*learning, *stepping))):
        sets += [tuple(sorted((*defaults, *some)))] if some else []
    return (*sets, ())
