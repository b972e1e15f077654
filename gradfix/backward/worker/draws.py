"""Random numbers of `torch.vmap` where each example has a call of its own: those that the transform would draw.

That draws once for all examples, in each place of the function: a row for each with `randomness="different"`, one for
all with "same". So the first example draws for all, and the others take what is theirs, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DrawError(RuntimeError):
    """What would be drawn isn't known."""


class Draws(TorchDispatchMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Within it random numbers are those of one of `size` examples."""

    def __init__(self, size: int, *, same: bool, along_first: bool) -> None:
        """`along_first`: the examples lie along the first dimension of what is mapped, and so in memory."""
        super().__init__()
        self._size, self._same, self._along_first = size, same, along_first
        self._made: list[torch.Tensor] = []  # in each place: a row for each example, or what all have
        self._example, self._place = 0, 0

    def of(self, example: int) -> Draws:
        """The same for another example, the first of which is 0."""
        self._example, self._place = example, 0
        return self

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*args, **keywords)
        if self._example == 0:
            self._made.append(self._drawn(function, args, keywords))
        elif self._place >= len(self._made):
            raise DrawError("an example draws more random numbers than the first")
        whole = self._made[self._place]
        self._place += 1
        own = whole if self._same else whole[self._example]
        if not _is_written(function):
            return own.clone()
        if own.shape != args[0].shape:
            raise DrawError("an example draws other random numbers than the first")
        return args[0].copy_(own)

    def _drawn(self, function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> torch.Tensor:
        """What is drawn in one place for all examples."""
        if any(isinstance(one, torch.Tensor) for one in args[1:]):
            raise DrawError(f"`{function}` draws by what each example holds")
        if args and isinstance(args[0], torch.Tensor):
            if not (_is_written(function) or function.overloadpacket.__name__.endswith("_like")):
                raise DrawError(f"`{function}` draws by what each example holds")
            if not (self._same or self._along_first):
                raise DrawError("in which order examples draw that lie along another dimension isn't known")
            shape = args[0].shape if self._same else (self._size, *args[0].shape)
            return _called(function, (args[0].new_empty(shape), *args[1:]), keywords)
        if self._same:
            return _called(function, args, keywords)
        names = [one.name for one in function._schema.arguments]
        if "size" not in names:  # a permutation
            return torch.stack([_called(function, args, keywords) for _ in range(self._size)])
        place = names.index("size")
        larger = [self._size, *args[place]]
        return _called(function, (*args[:place], larger, *args[place + 1 :]), keywords)


def _called(function: Callable[..., torch.Tensor], args: tuple[Any, ...], keywords: dict[str, Any]) -> torch.Tensor:
    return function(*args, **keywords)


def _is_written(function: Any) -> bool:
    """Whether it draws into the tensor that it is given."""
    return bool(function.overloadpacket.__name__.endswith("_"))
