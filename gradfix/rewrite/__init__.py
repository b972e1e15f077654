"""Verbs that rewrite: a statement and its facts in, edits of the original text out.

The verbs are cheap and import nothing heavy; LibCST is imported when an edit is built.
"""

from gradfix.rewrite.backward_calls.gradients import keep_graph, reach_leaf
from gradfix.rewrite.backward_calls.losses import scalar_loss
from gradfix.rewrite.branches.anchoring import is_anchored
from gradfix.rewrite.branches.branch import connect_branch
from gradfix.rewrite.buffers.blocks import join_pieces
from gradfix.rewrite.buffers.slots import stack_slots
from gradfix.rewrite.cuts.reconnect import reconnect
from gradfix.rewrite.grounds.places import is_view
from gradfix.rewrite.out_of_place import out_of_place
from gradfix.rewrite.parts.rebuild import rebuild
from gradfix.rewrite.writes.data_writes import write_openly
from gradfix.rewrite.writes.expansions import own_memory
from gradfix.rewrite.writes.masked_where import select_masked
from gradfix.rewrite.writes.out_arguments import assign_result
from gradfix.rewrite.writes.rebind import rebind
from gradfix.rewrite.writes.swaps import copy_view

__all__ = [
    "assign_result",
    "connect_branch",
    "copy_view",
    "is_anchored",
    "is_view",
    "join_pieces",
    "keep_graph",
    "out_of_place",
    "own_memory",
    "reach_leaf",
    "rebind",
    "rebuild",
    "reconnect",
    "scalar_loss",
    "select_masked",
    "stack_slots",
    "write_openly",
]
