"""Who trains what, as far as the text of a function tells: what is called as a network, and what steps as an optimizer.

Training loops mostly get both as arguments, so nothing but their use and their names tells what they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from gradfix.analysis.text.nodes import Function, every_node

Training = Function | ast.ClassDef | ast.Module

_OPTIMIZER = re.compile(r"(?<![a-z])(opts?|optims?|[Ss]olver)(?![a-z])|[Oo]pt(?=[A-Z_\d\W]|$)|[Oo]ptimi[sz]er")
_BUILDING = re.compile(r"optim|^(Adam|SGD|RMSprop|clip_grad)")  # what is given parameters that learn
_FIXED = re.compile(
    r"target|teacher|frozen|ema(?![a-z])|(^|[_.])(ref|old|avg|averaged|momentum)([_.]|$)", re.IGNORECASE
)
_NETWORK = re.compile(
    r"net(work)?s?(?![a-z])|model|policy|actor|critic|generator|discriminator|encoder|decoder|agent", re.IGNORECASE
)
# Functions and classes that give networks or do something about them, and what computes losses.
_OTHER = re.compile(
    r"^_*(build|make|create|get|init|load|set|new|reset|save|update|prepare|wrap|compile|[A-Z][a-z])|[Ll]oss|[Cc]riteri"
)
_CUTS = frozenset({"detach", "detach_", "data"})
_ROLE = re.compile(r"optimi[sz]ers?|optim|opt|solver|network|net|model|module|[\W_]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Roles:
    """By their spelling: networks whose parameters learn, and the optimizers."""

    networks: frozenset[str]
    optimizers: frozenset[str]

    def stepped_by(self, optimizer: str, networks: Iterable[str]) -> frozenset[str]:
        """Which of these an optimizer of that name updates: the only one all of them, others those of their name."""
        stem = _stem(optimizer)
        if not stem:
            return frozenset(networks) if len(self.optimizers) == 1 else frozenset()
        stems = {name: _unnumbered(_stem(name)) for name in networks if _are_named_alike(stem, name)}
        same = frozenset(name for name, other in stems.items() if other == _unnumbered(stem))
        several = len(set(stems.values())) > 1  # `opt_d` of a decoder and a discriminator
        return same if same or several else frozenset(stems)


@lru_cache(maxsize=256)
def roles_in(scope: Training) -> Roles:
    """The networks and optimizers of a function, with those inside it, or of a class."""
    uses = _uses_of(scope)
    optimizers = frozenset(name for name in uses.of if _is_optimizer(name, uses.of[name])) | uses.handed
    things = uses.called.union(uses.of, uses.given) - optimizers  # what is handed on may be called elsewhere
    learning = {name for name in things if _learns(name, uses)}
    stems = [stem for stem in map(_stem, optimizers) if stem]
    free = {name for name in things if not _is_fixed(name, uses) and not _OTHER.search(_last(name))}
    learning |= {name for name in free if any(_are_named_alike(stem, name) for stem in stems)}
    alone = {name for name in free & uses.called if _NETWORK.search(_last(name))}
    if len(alone) == len(optimizers) == 1 and not optimizers & uses.of_tensors:
        learning |= alone
    return Roles(frozenset(learning), optimizers)


@lru_cache(maxsize=256)
def detached_in(scope: Training) -> frozenset[str]:
    """What a scope detaches, perhaps in some rounds of a loop alone: `if i: hidden = hidden.detach()`."""
    found = set[str]()
    for node in every_node(scope):
        if not isinstance(node, ast.Assign):
            continue
        if any(isinstance(inner, ast.Attribute) and inner.attr in _CUTS for inner in every_node(node.value)):
            found.update(name for target in node.targets for name in names_of(target))
    return frozenset(found)


@dataclass(slots=True)
class _Uses:
    called: set[str]
    of: dict[str, set[str]]  # names of the methods called, by what they are called on
    given: set[str]  # arguments
    learnt: set[str]  # whose parameters an optimizer gets, or whose gradients are clipped
    of_tensors: set[str]  # optimizers made here of tensors by name: `Adam([image])`
    handed: frozenset[str] = frozenset()  # optimizers handed over: `scaler.step(optimizer)`


def _uses_of(scope: Training) -> _Uses:
    uses = _Uses(set(), {}, set(), set(), set())
    handed = set[str]()
    nodes = every_node(scope)
    for node in nodes:
        if isinstance(node, ast.Assign) and _is_over_tensors(node.value):
            uses.of_tensors.update(filter(None, map(_spelled, node.targets)))
        if not isinstance(node, ast.Call) or (name := _spelled(node.func)) is None:
            continue
        uses.called.add(name)
        first, _, last = name.rpartition(".")
        if isinstance(node.func, ast.Attribute):
            uses.of.setdefault(first, set()).add(last)
        uses.given.update(filter(None, map(_spelled, node.args)))
        handed.update(_named_optimizers(node.args, at_once=last in ("step", "unscale_")))
        if _BUILDING.search(last) or _BUILDING.search(first.partition(".")[2]):
            uses.learnt.update(owners_of_parameters(node))
    uses.handed = frozenset(handed)
    return uses


def _named_optimizers(arguments: Iterable[ast.expr], *, at_once: bool) -> Iterator[str]:
    """Those among what a call is given; `opt` alone may be the options, unless they are stepped `at_once`."""
    for argument in arguments:
        name = _spelled(argument)
        if name is not None and _OPTIMIZER.search(_last(name)) and (at_once or "optim" in name.lower() or _stem(name)):
            yield name


def _is_over_tensors(made: ast.expr) -> bool:
    first = made.args[0] if isinstance(made, ast.Call) and made.args else None
    return isinstance(first, (ast.List, ast.Tuple)) and all(
        isinstance(e, (ast.Name, ast.Attribute)) for e in first.elts
    )


def owners_of_parameters(call: ast.Call) -> Iterator[str]:
    """`net` of `torch.optim.Adam(net.parameters())`."""
    for owner in parameter_owners(call):
        if (name := _spelled(owner)) is not None:
            yield name


def parameter_owners(call: ast.Call) -> Iterator[ast.expr]:
    """The expressions whose parameters are among the arguments."""
    for node in every_node(call):
        func = node.func if isinstance(node, ast.Call) else None
        if isinstance(func, ast.Attribute) and func.attr in ("parameters", "named_parameters"):
            yield func.value


def names_of(node: ast.expr) -> Iterator[str]:
    """The text of what `_spelled` reads, or of each in a tuple."""
    for one in node.elts if isinstance(node, (ast.Tuple, ast.List)) else (node,):
        if (name := _spelled(one)) is not None:
            yield name


def _spelled(node: ast.expr) -> str | None:
    """The text of a name, or of attributes and constant items of one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _spelled(node.value)
        return None if base is None else f"{base}.{node.attr}"
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        base = _spelled(node.value)
        return None if base is None else f"{base}[{node.slice.value!r}]"
    return None


def _is_optimizer(name: str, methods: set[str]) -> bool:
    named = _OPTIMIZER.search(_last(name)) is not None or _OPTIMIZER.search(name.partition("[")[0]) is not None
    return (named or "step" in methods) and not methods.isdisjoint({"step", "zero_grad"} if named else {"zero_grad"})


def _learns(name: str, uses: _Uses) -> bool:
    return name in uses.learnt or (not _is_fixed(name, uses) and not {"train", "zero_grad"}.isdisjoint(_of(uses, name)))


def _is_fixed(name: str, uses: _Uses) -> bool:
    """Whether it is called what doesn't learn, or only ever evaluated, or its gradients are switched."""
    methods = _of(uses, name)
    evaluated = "eval" in methods and "train" not in methods
    return evaluated or "requires_grad_" in methods or _FIXED.search(name) is not None


def _of(uses: _Uses, name: str) -> set[str]:
    return uses.of.get(name, set())


def _last(name: str) -> str:
    return name[name.rindex("[") :] if name.endswith("]") else name.rpartition(".")[2]


def _stem(name: str) -> str:
    """What is left of a name when its role is taken away: "d" of `optimizer_D`, `netD` and `opts["D"]`, or a number."""
    return _ROLE.sub("", _last(name)).lower()


def _unnumbered(stem: str) -> str:
    return stem.rstrip("0123456789")


def tells_whose(optimizer: str) -> bool:
    """Whether the name of an optimizer says more than that it is one."""
    return bool(_stem(optimizer))


def _are_named_alike(optimizer: str, network: str) -> bool:
    """Whether the one, without its role, may be short for the other: `opt_d` of `discriminator`, but not of `data`.

    The number of an optimizer is that of its network.
    """
    stem, letters = _stem(network), _unnumbered(optimizer)
    whole, number = _unnumbered(stem), optimizer[len(letters) :]
    if number and number != stem[len(whole) :]:
        return False
    if len(letters) == 1 and not _NETWORK.search(_last(network)):
        return whole == letters
    return whole.startswith(letters)
