"""Backward through calls of networks that nobody here has made: which of them it surely passes, for the second time.

What isn't followed may give anything, even something detached. It is taken to hand the gradient on where it has the
name of what computes losses, or where backward could come by no other way to a graph. Behind a network there may be
many ways, so only what is handed from one to the other without detours counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from gradfix.analysis.domain.graph import Node, NodeKind, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.networks import Networks
from gradfix.analysis.domain.records import AgainRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor
from gradfix.analysis.text.guards import is_kept_away
from gradfix.analysis.text.trainers import roles_in

# Names of functions that give what they get on, and lead gradients back to it.
_FAITHFUL = re.compile(
    r"loss|criteri(on|um|a)|(^|[._])(crit|bce|mse|l1|ce|nll|kl|objective|cost|log_?prob|entropy|scale|rsample)s?([._]|$)"
)
_SETTINGS = frozenset({"dim", "ignore_index", "reduction", "weight"})  # of one and the same loss
_PLACES = (ast.Name, ast.Attribute, ast.Subscript)


def passed(m: Machine, state: State, root: Tensor) -> tuple[Node, ...]:
    """The calls of networks, or of one that gave several things the parts, that backward from `root` surely passes."""
    node = state.node_of(root)
    if not m.networks.runs or node is None or (root.is_view and node in m.networks.runs):
        return ()  # a part of what a network gave: another part may have nothing to do with it
    return tuple(_passed(m, (node, True, False), {}))


# A node, whether it is the only way for the gradient, and whether it lies behind a network.
_Place = tuple[Node, bool, bool]


def _passed(m: Machine, root: _Place, known: dict[_Place, dict[Node, None]]) -> dict[Node, None]:
    """The calls passed from there, in order; behind a branch what all its ways have in common."""
    runs = m.networks.runs
    found: dict[Node, None] = {}
    stack = [root]
    seen = set[tuple[Node, bool]]()
    while stack:
        node, alone, behind = stack.pop()
        if (node, behind) in seen:
            continue
        seen.add((node, behind))
        if node.kind is NodeKind.PHI:
            found |= _in_common(m, (node, alone, behind), known)
        if node.kind is not NodeKind.OP:
            continue
        if node in runs:
            found[node] = None
            stack += [(given, False, True) for given in (*runs[node].inputs, *runs[node].carried)]
            continue
        whole = whole_of(m.networks, node)
        if whole is not None and not behind:
            found[node] = None
            stack += [(given, False, True) for given in runs[whole].carried]
        elif whole is not None:
            stack.append((whole, False, True))
        else:
            stack += _inputs(m, node, alone=alone, behind=behind)
    return found


def _in_common(m: Machine, place: _Place, known: dict[_Place, dict[Node, None]]) -> dict[Node, None]:
    """What all ways of a branch pass."""
    if place not in known:
        branch, alone, behind = place
        ways = [{} if way is None else _passed(m, (way, alone, behind), known) for way in branch.inputs]
        known[place] = {node: None for node in ways[0] if all(node in way for way in ways[1:])}
    return known[place]


def _inputs(m: Machine, node: Node, *, alone: bool, behind: bool) -> list[tuple[Node, bool, bool]]:
    inputs = [i for i in node.inputs if i is not None]
    if node.op == "item" or id(node.at) in m.notes.unfollowed:
        if behind:
            return []
        inputs = [i for i in inputs if any(inner in m.networks.runs for inner in reachable(i))]
        call = node.at if isinstance(node.at, ast.Call) else None
        named = call is not None and _FAITHFUL.search(m.spelling(call.func).lower()) is not None
        if not (named or (alone and len(inputs) == 1)) or (call is not None and _is_free(m, call, of_losses=named)):
            return []
    return [(i, alone and len(inputs) == 1, behind) for i in inputs]


def _is_free(m: Machine, call: ast.Call, *, of_losses: bool) -> bool:
    """Whether the call may detach what it gets: it gets a network, so that its result has a graph in any case, or it
    computes one of several losses, which a number or a string tells it."""
    told = [*call.args, *(k.value for k in call.keywords if k.arg not in _SETTINGS)]
    if of_losses and any(isinstance(given, ast.Constant) and type(given.value) in (int, str) for given in told):
        return True
    networks = roles_in(m.tree).networks
    return any(m.spelling(given) in networks for given in told if isinstance(given, _PLACES))


def whole_of(networks: Networks, node: Node) -> Node | None:
    """The call of a network that gave this as a part of its result."""
    while node.op == "item" and len(node.inputs) == 1 and node.inputs[0] is not None:
        node = node.inputs[0]
        if node in networks.runs:
            return node
    return None


def fed(m: Machine, nodes: tuple[Node, ...]) -> Iterator[Node]:
    """What stands for the gradients of the networks behind these."""
    for node in nodes:
        whole = node if node in m.networks.runs else whole_of(m.networks, node)
        if whole is not None:
            yield m.networks.runs[whole].network.leaf


def note_backward(m: Machine, state: State, nodes: tuple[Node, ...], call: ast.Call, *, retained: bool) -> None:
    """Backward passes the calls; those that it has passed before are noted, all are used up."""
    for node in nodes:
        spent = state.spent.get(node)
        whole = node if node in m.networks.runs else whole_of(m.networks, node)
        if whole is not None and spent is not None and _is_again(m, spent, call):
            _note_again(m, spent[0], call, whole)
        if not retained:
            state.spent[node] = (call, True)
            if whole is not None and whole not in nodes:
                state.spent[whole] = (call, True)


def _note_again(m: Machine, first: ast.Call, call: ast.Call, run: Node) -> None:
    place = (call, m.statement, m.scope.qualname)
    looped = m.later_round > 0
    record = m.notes.second_backwards.setdefault(id(call), AgainRecord(*place, first, certain=False, looped=looped))
    steps = m.networks.steps.get(m.networks.runs[run].network.weights, ())
    between = (step for step in steps if first.lineno <= step.lineno <= call.lineno)
    record.stepped = record.stepped or next(between, None)
    if record.shared is None and isinstance(run.at, ast.expr):
        record.shared = run.at


def _is_again(m: Machine, spent: tuple[ast.Call, bool], call: ast.Call) -> bool:
    """Whether the backward that freed it surely ran in the same run as `call`."""
    if not spent[1]:
        return False
    if spent[0] is not call:
        return not m.uncertain_loop
    return not is_kept_away(m.tree, call)
