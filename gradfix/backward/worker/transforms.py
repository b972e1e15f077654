"""The transforms of `torch.func` carried out by autograd alone: `vmap` as a loop, the others by `autograd.grad`.

They forbid what plain code may do (a write to what is one for all examples, to a tensor from outside, hooks on saved
tensors), and what raises in them has no gradients to compare with. Carried out like this it has.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from gradfix.backward.worker.draws import Draws
from gradfix.backward.worker.observe import accumulators
from gradfix.backward.worker.vary import Leaves

Function = Callable[..., Any]
_grad, _vmap = torch.autograd.grad, torch.vmap


@contextlib.contextmanager
def by_autograd(leaves: Leaves) -> Iterator[None]:
    """Meanwhile `torch.func` and `torch.vmap` are carried out without transforms."""
    plain = _Plain(leaves)
    own = {name: getattr(plain, name) for name in _NAMES}
    kept = {name: getattr(torch.func, name) for name in own}
    for name, function in own.items():
        setattr(torch.func, name, function)
    torch.vmap = plain.vmap
    try:
        yield
    finally:
        torch.vmap = _vmap
        for name, function in kept.items():
            setattr(torch.func, name, function)


_NAMES = ("vmap", "grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian")


class _Plain:
    """Stand-ins for the transforms, with their signatures as far as they decide on what is computed."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves

    def vmap(
        self, func: Function, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", **options: Any
    ) -> Function:
        """One call for each example. Random numbers that are drawn for a part of them at a time stay as they are."""
        draws = randomness != "error"
        if draws and options.get("chunk_size") is not None:
            return _vmap(func, in_dims, out_dims, randomness, **options)  # type: ignore[no-any-return]

        @functools.wraps(func)
        def mapped(*args: Any, **keywords: Any) -> Any:
            given, spec = pytree.tree_flatten(args)
            dims = pytree._broadcast_to_and_flatten(list(in_dims) if type(in_dims) is list else in_dims, spec)
            sizes = {one.shape[dim] for one, dim in zip(given, dims or ()) if dim is not None}
            if len(sizes) != 1:  # the transform says what is wrong
                return _vmap(func, in_dims, out_dims, randomness)(*args, **keywords)
            results, size = [], sizes.pop()
            first = all(dim in (None, 0) for dim in dims)
            drawn = Draws(size, same=randomness == "same", along_first=first) if draws else None
            for number in range(size):
                own = [one if dim is None else one.select(dim, number) for one, dim in zip(given, dims)]
                with contextlib.nullcontext() if drawn is None else drawn.of(number):
                    results.append(func(*pytree.tree_unflatten(own, spec), **keywords))
            return _stacked(results, out_dims)

        return mapped

    def grad(self, func: Function, argnums: Any = 0, has_aux: bool = False) -> Function:
        """The gradient of a function of one number."""
        both = self.grad_and_value(func, argnums, has_aux)

        @functools.wraps(func)
        def gradient(*args: Any, **keywords: Any) -> Any:
            found, value = both(*args, **keywords)
            return (found, value[1]) if has_aux else found

        return gradient

    def grad_and_value(self, func: Function, argnums: Any = 0, has_aux: bool = False) -> Function:
        """The gradient, and the number."""

        @functools.wraps(func)
        def both(*args: Any, **keywords: Any) -> Any:
            with torch.enable_grad():
                fed = _Fed(args, argnums)
                value = func(*fed.args, **keywords)
                found = fed.gradients(value[0] if has_aux else value)
            return self._outside(fed, (fed.like_asked(found), value))

        return both

    def vjp(self, func: Function, *primals: Any, has_aux: bool = False) -> Any:
        """What a function gives, and a function from cotangents to gradients."""
        with torch.enable_grad():
            fed = _Fed(primals, tuple(range(len(primals))))
            value = func(*fed.args)
        result, aux = value if has_aux else (value, None)

        def pulled(cotangents: Any, **options: Any) -> Any:
            with torch.enable_grad():
                found = fed.gradients(pytree.tree_leaves(result), pytree.tree_leaves(cotangents))
            return self._outside(fed, fed.like_asked(found))

        shown = self._outside(fed, result)
        return (shown, pulled, self._outside(fed, aux)) if has_aux else (shown, pulled)

    def jvp(self, func: Function, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
        """What a function gives, and how it changes along the tangents: the gradient of a gradient."""
        with torch.enable_grad():
            fed = _Fed(primals, tuple(range(len(primals))))
            value = func(*fed.args)
            result, aux = value if has_aux else (value, None)
            roots, spec = pytree.tree_flatten(result)
            weights = [torch.ones_like(root, requires_grad=True) for root in roots]
            pulled = fed.gradients(roots, weights)
            moved = _gradients(pulled, weights, pytree.tree_leaves(tangents))
        told = (result, pytree.tree_unflatten(moved, spec), *([aux] if has_aux else []))
        return self._outside(fed, told, weights)

    def jacrev(self, func: Function, argnums: Any = 0, *, has_aux: bool = False, **options: Any) -> Function:
        """The Jacobian, a row for each element that the function gives."""

        @functools.wraps(func)
        def jacobian(*args: Any, **keywords: Any) -> Any:
            with torch.enable_grad():
                fed = _Fed(args, argnums)
                value = func(*fed.args, **keywords)
                result, aux = value if has_aux else (value, None)
                found = pytree.tree_map(fed.rows, result)
            return self._outside(fed, (found, aux) if has_aux else found)

        return jacobian

    jacfwd = jacrev

    def hessian(self, func: Function, argnums: Any = 0) -> Function:
        """The Jacobian of the gradient."""
        return self.jacrev(self.jacrev(func, argnums), argnums)

    def _outside(self, fed: _Fed, value: Any, more: Sequence[torch.Tensor] = ()) -> Any:
        """What a transform gives to those outside: no graph where nothing outside of it has one."""
        own = {id(leaf): leaf for leaf in (*fed.leaves, *more)}
        self._leaves.ignored.update(own)

        def shown(item: Any) -> Any:
            if not isinstance(item, torch.Tensor) or not item.requires_grad:
                return item
            others = (node.variable for node in accumulators([item]) if id(node.variable) not in self._leaves.ignored)
            return item if next(others, None) is not None else item.detach()

        return pytree.tree_map(shown, value)


class _Fed:
    """Arguments of which some are differentiated: their tensors are results of leaves, or of what has a graph."""

    def __init__(self, args: Sequence[Any], argnums: Any) -> None:
        self._single = isinstance(argnums, int)
        numbers = [number % len(args) for number in ((argnums,) if self._single else argnums)]
        flat, self._spec = pytree.tree_flatten(tuple(args[number] for number in numbers))
        self.inputs = [one * 1 if one.requires_grad else one.detach().clone().requires_grad_() for one in flat]
        self.leaves = [one for one in self.inputs if one.is_leaf]
        own = pytree.tree_unflatten([one * 1 for one in self.inputs], self._spec)
        self.args = list(args)
        for number, value in zip(numbers, own):
            self.args[number] = value

    def gradients(self, roots: Any, cotangents: Any = None) -> list[torch.Tensor]:
        """With respect to each tensor that is differentiated."""
        return _gradients([roots] if isinstance(roots, torch.Tensor) else roots, self.inputs, cotangents)

    def rows(self, root: torch.Tensor) -> Any:
        """The Jacobian of one tensor."""
        each = [self.gradients(element) for element in root.reshape(-1)]
        whole = [torch.stack(rows).reshape(*root.shape, *rows[0].shape) for rows in zip(*each)]
        return self.like_asked(whole)

    def like_asked(self, found: Sequence[torch.Tensor]) -> Any:
        """Gradients in the form of the arguments: of one, or a tuple of several."""
        whole = pytree.tree_unflatten(list(found), self._spec)
        return whole[0] if self._single else whole


def _gradients(
    roots: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor], cotangents: Any = None
) -> list[torch.Tensor]:
    tracked = [number for number, root in enumerate(roots) if root.requires_grad]
    if not tracked:
        return [torch.zeros_like(one) for one in inputs]
    given = None if cotangents is None else [cotangents[number] for number in tracked]
    with torch._C.DisableTorchFunction():  # else it would ask for what stands in the place of `torch.autograd.grad`
        found = _grad([roots[number] for number in tracked], inputs, given, create_graph=True, allow_unused=True)
    return [torch.zeros_like(one) if gradient is None else gradient for one, gradient in zip(inputs, found)]


def _stacked(results: Sequence[Any], out_dims: Any) -> Any:
    """The results of all examples as one, along the dimensions that were asked for."""
    flat = [pytree.tree_flatten(result) for result in results]
    spec = flat[0][1]
    dims = pytree._broadcast_to_and_flatten(out_dims, spec)
    columns = zip(*(items for items, _ in flat))
    whole = [column[0] if dim is None else torch.stack(column, dim) for column, dim in zip(columns, dims or ())]
    return pytree.tree_unflatten(whole, spec)
