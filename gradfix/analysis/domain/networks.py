"""Networks that nobody here has made: arguments and attributes that are called, and whose parameters learn.

All that is known of one is that it has parameters, and that a call of it keeps them, or something computed with them,
for backward.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from gradfix.analysis.domain.graph import Node, assumed
from gradfix.analysis.domain.values import Origin, Storage


@dataclass(frozen=True, eq=False, slots=True)
class Network:
    """One of them."""

    names: tuple[str, ...]  # what its user calls it, and the name it was first given
    weights: Storage  # stands for the memory of all its parameters
    leaf: Node  # stands for their gradients


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """A call of a network, by the node of its result."""

    network: Network
    inputs: tuple[Node, ...]  # graphs of what it was given, which it surely goes back to
    carried: tuple[Node, ...]  # those among them that are a hidden state a call before gave


@dataclass(slots=True)
class Networks:
    """Those of one file."""

    known: dict[Storage, Network] = field(default_factory=dict)  # by the memory that stands for the object
    leaves: dict[Storage, Node] = field(default_factory=dict)  # by that of the parameters
    steps: dict[Storage, list[ast.Call]] = field(default_factory=dict)  # that updated parameters
    runs: dict[Node, Run] = field(default_factory=dict)
    detached: set[Node] = field(default_factory=set)  # what was detached in place, part by part
    met: dict[Network, None] = field(default_factory=dict)  # by this entry

    def network(self, thing: Storage, name: str) -> Network:
        """The network that `thing` stands for, which is called `name` here."""
        found = self.known.get(thing)
        if found is None:
            names = tuple(dict.fromkeys((name, *((thing.name,) if thing.name else ()))))
            weights = Storage(Origin.PARAMETER, f"{name}.parameters")
            found = self.known[thing] = Network(names, weights, assumed(name))
            self.leaves[weights] = found.leaf
        return found
