"""Calls by qualified name of what isn't of torch: the standard library, NumPy, and what nothing is known of."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gradfix.analysis.domain import learned
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import Items, State, any_item, at_most_twice
from gradfix.analysis.domain.values import (
    NONE,
    PLAIN,
    Class,
    Const,
    Container,
    Instance,
    Number,
    Partial,
    Tensor,
    Value,
    tensors,
)
from gradfix.analysis.hazards import cuts
from gradfix.analysis.interpreter import builtin_calls, classes, iterators, itertools_calls
from gradfix.analysis.interpreter.builtin_calls import NamedCall
from gradfix.analysis.operators import arrays

_PLAIN = ("random.", "os.", "sys.", "time.", "logging.", "json.", "re.")  # they hand on no tensors


def call(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], at: ast.Call
) -> Value:
    """Call something by its qualified name."""
    if name.startswith("builtins."):
        return builtin_calls.call(m, state, name.removeprefix("builtins."), args, keywords, at)
    called = NamedCall(m, state, name, args, keywords, at)
    function = _FUNCTIONS.get(name) or _PACKAGES.get(name.partition(".")[0])
    found = None if function is None else function(called)
    if found is None:
        return PLAIN if name.startswith(_PLAIN) else m.unknown_call(state, (*args, *keywords.values()), at)
    return found


def _math(call: NamedCall) -> Value:
    of_data = any(tensors(value) or (isinstance(value, Number) and value.of_data) for value in call.args)
    flows = builtin_calls.number_from(call.m, call.state, call.name, call.args, call.at)
    return Number("float", of_data, flows=flows)


def _itertools(call: NamedCall) -> Value | None:
    short = call.name.removeprefix("itertools.")
    return itertools_calls.call(call.m, call.state, short, call.args, call.keywords, call.at)


def _numpy(call: NamedCall) -> Value:
    short = call.name.rpartition(".")[2]
    behind = cuts.through(call.m, call.state, short, call.args)
    computed = cuts.array(call.m, behind)
    if (filled := arrays.filled(call.m, call.state, short, call.args, call.keywords, call.at)) is not None:
        return filled
    shared = arrays.sharing(short, (*call.args, *call.keywords.values()))
    if shared:
        return replace(computed, holders=shared)
    return arrays.fresh(call.state, short, behind, call.at) or (computed if behind else PLAIN)


def _deque(call: NamedCall) -> Value:
    """A list; one that holds no more than `maxlen` has dropped some, nobody counts which."""
    made = iterators.iterator(call.m, call.state, "deque", call.args[:1], call.at)
    bound = call.keywords.get("maxlen", call.args[1] if len(call.args) > 1 else NONE)
    if not (isinstance(bound, Const) and bound.value is None) and isinstance(made, Container):
        call.state.hold(made, Items((call.state.items.get(made) or Items((), False)).values, False))
    return made


def _default_dict(call: NamedCall) -> Value:
    default = call.args[0] if call.args else None
    return builtin_calls.dictionary(call.m, call.state, call.args[1:], call.keywords, call.at, default)


def _ordered_dict(call: NamedCall) -> Value:
    return builtin_calls.dictionary(call.m, call.state, call.args, call.keywords, call.at, None)


def _namespace(call: NamedCall) -> Value | None:
    if any(keyword.arg is None for keyword in call.at.keywords):
        return None
    made = Instance(None)
    call.state.attributes[made] = dict(call.keywords)
    return made


def _named_tuple(call: NamedCall) -> Value | None:
    info = classes.named_tuple(call.args, call.state)
    return None if info is None else Class(info, call.m.scope.frames)


def _reduce(call: NamedCall) -> Value | None:
    return iterators.reduced(call.m, call.state, call.args, call.at) if len(call.args) > 1 else None


def _as_given(call: NamedCall) -> Value | None:
    """Also for what takes a coroutine: it is played where it is made."""
    return call.args[0] if call.args else None


def _cast(call: NamedCall) -> Value | None:
    return call.args[1] if len(call.args) == 2 else call.keywords.get("val")


def _gather(call: NamedCall) -> Value:
    return call.state.container("list", Items(tuple(call.args), True))


def _chosen(call: NamedCall) -> Value | None:
    """`random.choice(hs)`: one of them."""
    return any_item(call.state, call.iterated(call.first))


def _some(call: NamedCall) -> Value:
    return call.state.container("list", Items(call.iterated(call.first).values, False))


def _rearranged(call: NamedCall) -> Value | None:
    """`random.shuffle(hs)`, `heapq.heappush(heap, item)`: the list in another order, with what is given besides."""
    if not call.args or not isinstance(call.first, Container):
        return None
    held = Items(at_most_twice((*call.iterated(call.first).values, *call.args[1:])), False)
    call.state.hold(call.first, held)
    return any_item(call.state, held) or NONE


def _partial(call: NamedCall) -> Value | None:
    return Partial(call.args[0], tuple(call.args[1:]), tuple(call.keywords.items())) if call.args else None


def _replaced(call: NamedCall) -> Value | None:
    """`dataclasses.replace(record, h=…)`: another object that holds the same but for what is given."""
    if not isinstance(call.first, Instance):
        return None
    made = learned.shallow_copy(call.state, call.first)
    if isinstance(made, Instance):
        call.state.attributes_of(made).update(call.keywords)
    return made


def _copy(call: NamedCall) -> Value | None:
    if not call.args:
        return None
    if isinstance(given := call.args[0], Tensor):
        made = outside(call.state, "copy", known=given.known)
        made.holders = () if call.name == "copy.deepcopy" else (given,)  # its memory is the same
        return made
    copied = learned.deep_copy if call.name == "copy.deepcopy" else learned.shallow_copy
    return copied(call.state, call.args[0])


_REARRANGING = (
    "random.shuffle",
    *(f"heapq.{name}" for name in ("heappush", "heappop", "heapify", "heapreplace", "heappushpop")),
    *(f"bisect.{name}" for name in ("insort", "insort_left", "insort_right")),
)
# What they give; None where nothing is known of the call.
_PACKAGES: Mapping[str, Callable[[NamedCall], Value | None]] = {"math": _math, "itertools": _itertools, "numpy": _numpy}
_FUNCTIONS: Mapping[str, Callable[[NamedCall], Value | None]] = {
    "collections.deque": _deque,
    "collections.defaultdict": _default_dict,
    "collections.OrderedDict": _ordered_dict,
    "collections.namedtuple": _named_tuple,
    **dict.fromkeys(("types.SimpleNamespace", "argparse.Namespace"), _namespace),
    **dict.fromkeys(("dataclasses.replace", "copy.replace"), _replaced),
    "functools.reduce": _reduce,
    "random.choice": _chosen,
    **dict.fromkeys(_REARRANGING, _rearranged),
    **dict.fromkeys(("random.sample", "random.choices"), _some),
    "functools.partial": _partial,
    **{f"asyncio.{name}": _as_given for name in ("run", "wait_for", "create_task", "ensure_future", "shield")},
    "asyncio.gather": _gather,
    **dict.fromkeys(("typing.cast", "typing_extensions.cast"), _cast),
    **dict.fromkeys(("contextlib.nullcontext", "tqdm.tqdm", "tqdm.auto.tqdm"), _as_given),
    **dict.fromkeys(("copy.copy", "copy.deepcopy"), _copy),
}
