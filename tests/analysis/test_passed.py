"""What backward passes in every case, held against all cases of random graphs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from gradfix.analysis.domain.graph import Node, NodeKind, Passed
from gradfix.analysis.facts import Tracked


@st.composite
def graphs(draw: st.DrawFn) -> Node:
    """The last node of a graph in which each has some of those before it as inputs; a branch may have none."""
    nodes: list[Node | None] = [None, Node(NodeKind.LEAF, "w", (), Tracked.YES)]
    for number in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from((NodeKind.OP, NodeKind.PHI)))
        inputs = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3, unique_by=id))
        nodes.append(Node(kind, f"{kind.value}{number}", tuple(inputs), Tracked.MAYBE))
    root = nodes[-1]
    assert root is not None
    return root


def _cases(root: Node) -> Iterator[set[int]]:
    """The nodes passed for each choice of all branches."""
    branches = [node for node in Passed(root).nodes.values() if node.kind is NodeKind.PHI]
    for chosen in product(*(range(len(node.inputs)) for node in branches)):
        ways = dict(zip(map(id, branches), chosen, strict=True))
        met: set[int] = set()
        todo: list[Node | None] = [root]
        while todo:
            node = todo.pop()
            if node is not None and id(node) not in met:
                met.add(id(node))
                todo.extend(node.inputs if id(node) not in ways else (node.inputs[ways[id(node)]],))
        yield met


@given(graphs())
def test_always_is_never_more_than_every_case(root: Node) -> None:
    always = {id(node) for node in Passed(root).always()}
    assert always <= set.intersection(*_cases(root))


@given(graphs())
def test_always_agrees_with_the_question_for_one_node(root: Node) -> None:
    passed = Passed(root)
    always = {id(node) for node in passed.always()}
    assert always == {key for key, node in passed.nodes.items() if passed.surely(node)}
