"""Verbs that rewrite: a statement and its facts in, edits of the original text out.

A verb is imported when it is first named, as in `rewrite.rebind(…)`: most files need none. LibCST is imported when an
edit is built.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradfix.rewrite.backward_calls.gradients import keep_graph as keep_graph
    from gradfix.rewrite.backward_calls.gradients import reach_leaf as reach_leaf
    from gradfix.rewrite.backward_calls.losses import scalar_loss as scalar_loss
    from gradfix.rewrite.branches.anchoring import is_anchored as is_anchored
    from gradfix.rewrite.branches.bare_ways import connect_way as connect_way
    from gradfix.rewrite.branches.branch import connect_branch as connect_branch
    from gradfix.rewrite.buffers.blocks import join_pieces as join_pieces
    from gradfix.rewrite.buffers.slots import stack_slots as stack_slots
    from gradfix.rewrite.buffers.slots import stacked_writes as stacked_writes
    from gradfix.rewrite.cures import out_of_place as out_of_place
    from gradfix.rewrite.cuts.reconnect import reconnect as reconnect
    from gradfix.rewrite.grounds.places import is_view as is_view
    from gradfix.rewrite.parts.rebuild import rebuild as rebuild
    from gradfix.rewrite.writes.data_writes import write_openly as write_openly
    from gradfix.rewrite.writes.expansions import own_memory as own_memory
    from gradfix.rewrite.writes.masked_where import select_masked as select_masked
    from gradfix.rewrite.writes.out_arguments import assign_result as assign_result
    from gradfix.rewrite.writes.rebind import rebind as rebind
    from gradfix.rewrite.writes.swaps import copy_view as copy_view

_HOMES = {
    "assign_result": "writes.out_arguments",
    "connect_branch": "branches.branch",
    "connect_way": "branches.bare_ways",
    "copy_view": "writes.swaps",
    "is_anchored": "branches.anchoring",
    "is_view": "grounds.places",
    "join_pieces": "buffers.blocks",
    "keep_graph": "backward_calls.gradients",
    "out_of_place": "cures",
    "own_memory": "writes.expansions",
    "reach_leaf": "backward_calls.gradients",
    "rebind": "writes.rebind",
    "rebuild": "parts.rebuild",
    "reconnect": "cuts.reconnect",
    "scalar_loss": "backward_calls.losses",
    "select_masked": "writes.masked_where",
    "stack_slots": "buffers.slots",
    "stacked_writes": "buffers.slots",
    "write_openly": "writes.data_writes",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
