"""Verbs that rewrite: a statement and its facts in, edits of the original text out.

The verbs are cheap and import nothing heavy; LibCST is imported when an edit is built.
"""

from gradfix.rewrite.anchoring import is_anchored
from gradfix.rewrite.blocks import join_pieces
from gradfix.rewrite.branch import connect_branch
from gradfix.rewrite.data_writes import write_openly
from gradfix.rewrite.expansions import own_memory
from gradfix.rewrite.gradients import keep_graph, reach_leaf
from gradfix.rewrite.losses import scalar_loss
from gradfix.rewrite.masked_where import select_masked
from gradfix.rewrite.out_arguments import assign_result
from gradfix.rewrite.out_of_place import out_of_place
from gradfix.rewrite.places import is_view
from gradfix.rewrite.rebind import rebind
from gradfix.rewrite.rebuild import rebuild
from gradfix.rewrite.reconnect import reconnect
from gradfix.rewrite.slots import stack_slots
from gradfix.rewrite.swaps import copy_view

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
