"""A declared call: the file imported from the rewritten text, one expression called, its outputs driven backward."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from gradfix.backward.worker.afterwards import Afterwards, Held, cotangents
from gradfix.backward.worker.elsewhere import left_elsewhere
from gradfix.backward.worker.inputs import Call, another, call_of
from gradfix.backward.worker.messages import ARGUMENT, RESULT
from gradfix.backward.worker.modules import imported
from gradfix.backward.worker.observe import Observer
from gradfix.backward.worker.outside import Outside
from gradfix.backward.worker.requests import Plan, Request
from gradfix.backward.worker.results import consumed, tensors_of
from gradfix.backward.worker.sharing import sharing
from gradfix.backward.worker.state import Root, State, shared_by
from gradfix.backward.worker.tensors import layout, rng_state
from gradfix.backward.worker.vary import Leaves


def execute(
    request: Request,
    text: str,
    code: types.CodeType,
    leaves: Leaves,
    observer: Observer,
    outside: Outside,
    known: int,
) -> None:
    """Import the file, make the call `text`, note what it left and gave, run backward over what it returns.

    `known` is how many modules had been imported before the run.
    """
    module = imported(request.path, code, request.cwd)
    torch.manual_seed(request.seed)
    call = call_of(request, text, module, leaves)

    def roots() -> list[Root]:
        own = shared_by(module, request.shared)
        return [*own, _callee(call), *_holders(call), *left_elsewhere(module, known)]

    held = Held.by(roots, call.given)
    leaves.name(held.state.leaves | held.state.graphs)
    before = observer.events
    observer.clock.start()
    result = consumed(call.function(*call.args, **call.keywords))
    returned = tensors_of(result)
    state = State(observer.wire if request.tells_state else None)
    _walk_after(state, roots(), held, leaves, outside)
    state.walk([("the result", result)], known=returned)
    own = observer.events > before
    left = _left(state, held, leaves)
    outputs = returned or ([] if own else [*left_behind(call.function, call.given), *left.values()])
    data = [] if outputs or own else state.data(held.state)
    outputs = _once([*outputs, *_asked_for(request, state, call)])
    _tell(request, observer, state, call, outputs or data)
    once_more = None
    if request.recorded is None and not own and not request.plan.fresh_leaves:  # what a leaf was written doesn't last
        once_more = partial(another, text, module, call.function, leaves)
    plain = request.plan == Plan()
    afterwards = Afterwards(observer, held, {**left, **held.written()}, outputs, plain=plain)
    tell = partial(afterwards.tell, once_more) if request.tells_state else None
    _differentiate(outputs, leaves, own=own, tell=tell)


def _walk_after(state: State, roots: list[Root], held: Held, leaves: Leaves, outside: Outside) -> None:
    """Note what the call left: in what its file and it reach, in modes, and outside the program."""
    state.modes()
    state.walk(roots, known=leaves.handed_out())
    state.replaced(held.state)
    state.outside(outside)


def _left(state: State, held: Held, leaves: Leaves) -> dict[str, torch.Tensor]:
    """Tensors with a graph that the call left in what it reaches, by their paths."""
    stand_ins = leaves.hidden()
    return {path: tensor for path, tensor in state.new(held.state).items() if id(tensor) not in stand_ins}


def _asked_for(request: Request, state: State, call: Call) -> list[torch.Tensor]:
    """Of what the call left, what the request asks to be driven backward, too."""
    reached = {**state.tensors, **{f"{ARGUMENT}{number}": tensor for number, tensor in enumerate(call.given, 1)}}
    return [reached[path] for path in request.left if path in reached]


def _tell(request: Request, observer: Observer, state: State, call: Call, outputs: list[torch.Tensor]) -> None:
    """Report what the call left and gave."""
    named = {
        **{f"{RESULT}{number}": tensor for number, tensor in enumerate(outputs, 1)},
        **{f"{ARGUMENT}{number}": tensor for number, tensor in enumerate(call.given, 1)},
        **state.tensors,
    }
    observer.outcome = {
        "arguments": [observer.wire.tensor(tensor) for tensor in call.given],
        "results": [{**observer.wire.tensor(tensor), **layout(tensor)} for tensor in outputs],
        "state": {path: told for path, told in state.found.items() if request.tells_state or path not in state.tensors},
        "gradients": {},
        "sharing": sharing(named) if request.tells_sharing else None,
        "passes": observer.events,
        "rng": rng_state(),
    }


def _differentiate(outputs: list[torch.Tensor], leaves: Leaves, *, own: bool, tell: Callable[[], None] | None) -> None:
    """Run backward over what a call gave, unless it ran `own` passes and left no graph; what is left is told last."""
    tracked = any(tensor.requires_grad for tensor in outputs)
    if tell is not None and not tracked:
        tell()
    differentiable = [t for t in outputs if t.requires_grad or torch.is_floating_point(t)]
    if differentiable and (tracked or not own):
        drive(differentiable, leaves, retain=tell is not None)
    if tell is not None and tracked:
        tell()


def _once(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _callee(call: Call) -> tuple[str, Any]:
    """What is called, with a name: the object that a call of a module or method is about is `self`."""
    if isinstance(call.function, (types.FunctionType, type)):
        return call.function.__name__, call.function
    return "self", call.owner


def _holders(call: Call) -> list[tuple[str, Any]]:
    """Arguments that may hold tensors, with their names."""
    numbered = ((f"argument {number}", value) for number, value in enumerate(call.args, 1))
    named = [*numbered, *call.keywords.items()]
    return [(name, value) for name, value in named if not isinstance(value, torch.Tensor)]


def left_behind(function: Any, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """What a call that returns no tensor has computed: in the object it belongs to, and in its arguments."""
    owner = getattr(function, "__self__", None)
    kept = [] if owner is None or isinstance(owner, type) else tensors_of(list(getattr(owner, "__dict__", {}).values()))
    return [tensor for tensor in (*kept, *given) if tensor.grad_fn is not None]


def drive(outputs: list[torch.Tensor], leaves: Leaves, *, retain: bool = False) -> None:
    """One backward pass over all outputs with fixed cotangents: a plain sum would hide what cancels in it."""
    roots = []
    for output in outputs:
        root = output
        if not output.requires_grad and any(other.requires_grad for other in outputs):
            with torch._C.DisableTorchFunction():
                root = output.detach().requires_grad_()  # so that every output is reported, and torch takes them all
            leaves.ignored[id(root)] = root
        roots.append(root)
    torch.autograd.backward(roots, cotangents(roots), retain_graph=retain)
