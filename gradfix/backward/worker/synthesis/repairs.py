"""How a call is changed so that it may not raise what it raised: other sizes, ranks, kinds, fields.

Each function yields calls, the likeliest first; running them decides. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from gradfix.backward.worker.synthesis.clues import Clue, documented
from gradfix.backward.worker.synthesis.guesses import SIZE
from gradfix.backward.worker.synthesis.values import Call, Path, Plain, Several, Tensor, Value

_LARGEST = 512  # size of a dimension
_RANKS = {"scalar": 0, "vector": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@dataclass(frozen=True)
class Failure:
    """What a call raised, and which arguments the statement that raised it depends on."""

    kind: str  # name of the exception
    message: str
    relevant: frozenset[str] = frozenset()
    texts: tuple[tuple[str, ...], ...] = ()  # keys of the dicts that the file spells out
    only: bool = False  # nothing but those arguments is to be changed

    def __str__(self) -> str:
        first = self.message.partition("\n")[0]
        return f"{self.kind}: {first}" if first else self.kind


Handler = Callable[[Call, Failure, "re.Match[str]"], Iterable[Call]]


def places(call: Call, failure: Failure) -> list[tuple[Path, str, Value]]:
    """All values, those that the failing statement depends on first."""
    every = sorted(call.values(), key=lambda place: outer(call, place[0]) not in failure.relevant)
    return [one for one in every if not failure.only or outer(call, one[0]) in failure.relevant]


def outer(call: Call, path: Path) -> str:
    return call.stages[path[0]].arguments[path[1]].name


def tensors(call: Call, failure: Failure) -> list[tuple[Path, str, Tensor]]:
    """The tensors among them."""
    return [(path, name, value) for path, name, value in places(call, failure) if isinstance(value, Tensor)]


def reshaped(call: Call, failure: Failure, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Iterator[Call]:
    """Each tensor with another shape, those of a list first together, then all of them."""

    def changed(value: Value) -> Value:
        if isinstance(value, Several):
            return replace(value, items=tuple(map(changed, value.items)))
        shape = change(value.shape) if isinstance(value, Tensor) else ()
        fits = isinstance(value, Tensor) and all(size <= _LARGEST for size in shape)
        return replace(value, shape=shape) if fits and isinstance(value, Tensor) else value

    whole = call
    for path, _, value in places(call, failure):
        if isinstance(value, (Tensor, Several)) and changed(value) != value:
            yield call.at(path, changed(value))
            whole = whole.at(path, changed(value))
    if whole != call:
        yield whole


def of_rank(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """A shape of that rank that ends alike."""
    return shape[len(shape) - rank :] if rank <= len(shape) else (SIZE,) * (rank - len(shape)) + shape


def tamed(call: Call) -> Iterator[Call]:
    """The call with numbers that are less likely to end in infinities: positive ones, matrices that can be inverted."""
    for kind in ("positive", "definite"):
        yield call.map(lambda v, k=kind: replace(v, kind=k) if isinstance(v, Tensor) and v.kind == "normal" else v)  # type: ignore[misc]
        for path, _, value in call.values():
            if isinstance(value, Tensor) and value.kind == "normal":
                yield call.at(path, replace(value, kind=kind))


def positive(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """Numbers above zero."""
    yield from tamed(call)


def as_tuple(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """A tuple of so many in the place of one number."""
    count = _RANKS[match["word"].lower()]
    for path, _, value in places(call, failure):
        if isinstance(value, Plain) and type(value.value) in (int, float):
            yield call.at(path, Several((value,) * count, is_list=False))


def negated(call: Call) -> Iterator[Call]:
    """The call with negative numbers, which may take the other side of a branch."""

    def negative(value: Value) -> Value:
        if isinstance(value, Tensor) and value.kind in ("normal", "positive"):
            return replace(value, kind="negative")
        if isinstance(value, Plain) and isinstance(value.value, float):
            return Plain(-value.value)
        return value

    yield call.map(negative)
    for path, _, value in call.values():
        if negative(value) != value:
            yield call.at(path, negative(value))


def to_rank(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The rank that is asked for."""
    named = match.groupdict()
    rank = int(named["rank"] or named.get("rank_") or 2)
    yield from reshaped(call, failure, lambda shape: of_rank(shape, rank))


def to_spelled_rank(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The rank that is asked for in words: "a vector", "two-dimensional"."""
    rank = _RANKS[match["word"].lower()]
    yield from reshaped(call, failure, lambda shape: of_rank(shape, rank))


def at_dimension(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The size that is asked for in one dimension, first of what has the one that came there."""
    index, wanted, got = int(match["index"]), int(match["a"]), int(match["b"])

    def resize(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:index], wanted, *shape[index + 1 :]) if shape[index : index + 1] == (got,) else shape

    yield from reshaped(call, failure, resize)
    yield from _any_size(call, failure, got, wanted)


def to_named_ranks(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The ranks that are expected, as in "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got …".

    Of two the larger one comes first, which has a batch; of more the smallest.
    """
    expected = re.split(r"\b(?:but )?got\b", failure.message)[0]
    names = re.findall(r"\b(\d)-?[Dd]\b", expected) or re.findall(r"\b(\d)-?[Dd]\b", failure.message)
    ranks = {int(name) for name in names if int(name) <= 5}
    for rank in sorted(ranks, reverse=len(ranks) < 3):
        yield from reshaped(call, failure, lambda shape, rank=rank: of_rank(shape, rank))  # type: ignore[misc]


def more_dimensions(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    wanted = match.groupdict().get("dim")
    dim = int(wanted) if wanted else None
    for rank in range(1, 6):
        if dim is None or (rank > dim if dim >= 0 else rank >= -dim):
            yield from reshaped(
                call,
                failure,
                lambda shape, rank=rank: shape if len(shape) >= rank else of_rank(shape, rank),  # type: ignore[misc]
            )
            if dim is not None:
                return


def _last_size(old: int, new: int) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    return lambda shape: (*shape[:-1], new) if shape and shape[-1] == old else shape


def _any_size(call: Call, failure: Failure, old: int, new: int) -> Iterator[Call]:
    """One size for another: the last, the second, the first dimension, then all; and numbers likewise."""
    if old == new or not 0 < new <= _LARGEST:
        return
    yield from reshaped(call, failure, _last_size(old, new))
    yield from reshaped(call, failure, lambda s: (*s[:-2], new, new) if len(s) > 2 and s[-2:] == (old, old) else s)
    for index in (1, 0, 2):
        yield from reshaped(
            call,
            failure,
            lambda shape, index=index: (  # type: ignore[misc]
                (*shape[:index], new, *shape[index + 1 :]) if len(shape) > index and shape[index] == old else shape
            ),
        )
    yield from reshaped(call, failure, lambda shape: tuple(new if size == old else size for size in shape))
    for path, _, value in places(call, failure):
        if isinstance(value, Plain) and type(value.value) is int and value.value == old:
            yield call.at(path, Plain(new))


def same_sizes(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    one, other = int(match["a"]), int(match["b"])
    yield from _any_size(call, failure, one, other)
    yield from _any_size(call, failure, other, one)
    yield from _in_proportion(call, failure, *sorted((one, other)))


def _in_proportion(call: Call, failure: Failure, small: int, large: int) -> Iterator[Call]:
    """A width that is multiplied on the way: it, with the tensors that have it, times as much or as little."""
    if not 0 < small < large <= _LARGEST or large % small:
        return
    for path, _, value in places(call, failure):
        if isinstance(value, Plain) and type(value.value) is int and value.value == small:
            for index in (1, -1):
                changed = call.at(path, Plain(large))
                yield changed.map(lambda v, i=index: _sized(v, i, small, large))  # type: ignore[misc]
            yield call.at(path, Plain(max(1, small * small // large)))


def _sized(value: Value, index: int, old: int, new: int) -> Value:
    """A tensor with another size in one dimension, where it has the old one there."""
    if not isinstance(value, Tensor) or len(value.shape) <= abs(index) or value.shape[index] != old:
        return value
    index %= len(value.shape)
    return replace(value, shape=(*value.shape[:index], new, *value.shape[index + 1 :]))


def same_columns(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """A linear layer that wants more columns than a flattened picture has: other sizes of the picture."""
    yield from same_sizes(call, failure, match)
    for size in (28, 32, 64, 16, 8, 224):
        yield from reshaped(call, failure, lambda s, n=size: (*s[:-2], n, n) if len(s) >= 3 else s)  # type: ignore[misc]


def wanted_channels(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    wanted, got = int(match["a"]), int(match["b"])
    for index in (1, 0, -1):
        yield from reshaped(
            call,
            failure,
            lambda shape, i=index: (  # type: ignore[misc]
                (*shape[: i % len(shape)], wanted, *shape[i % len(shape) + 1 :])
                if len(shape) > abs(i) and shape[i] == got
                else shape
            ),
        )
    yield from _any_size(call, failure, got, wanted)


def larger(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """Twice as large, the last two dimensions or all; indices below what they index."""
    yield from reshaped(call, failure, lambda s: (*s[:-2], *(2 * size for size in s[-2:])))
    yield from reshaped(call, failure, lambda s: tuple(2 * size for size in s))
    yield from reshaped(call, failure, lambda s: (*s[:-2], *(8 * size for size in s[-2:])) if len(s) > 2 else s)
    for path, _, value in places(call, failure):
        if isinstance(value, Plain) and type(value.value) is int and value.value > 1:
            yield call.at(path, Plain(value.value // 2))
            yield call.at(path, Plain(value.value - 1))
        if isinstance(value, Several):
            yield call.at(path, Several(value.items * 2, value.is_list))


def longer(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """Longer lists, all of them and then each."""

    def doubled(value: Value) -> Value:
        return replace(value, items=value.items * 2) if isinstance(value, Several) else value

    whole = call
    for path, _, value in places(call, failure):
        if doubled(value) != value and len(path) == 2:
            whole = whole.at(path, doubled(value))
    yield from (one for one in (whole,) if one != call)
    for path, _, value in places(call, failure):
        if doubled(value) != value:
            yield call.at(path, doubled(value))


def wider(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """Every width, and sizes like it, eight times as large: something is divided by a number until nothing is left."""

    def widened(value: Value) -> Value:
        if isinstance(value, Plain) and type(value.value) is int and value.value in (SIZE, 2 * SIZE):
            return Plain(8 * value.value)
        if isinstance(value, Tensor):
            shape = (
                size * 8 if n == 1 or (size == value.shape[-1] and len(value.shape) < 4) else size
                for n, size in enumerate(value.shape)
            )
            return replace(value, shape=tuple(shape))
        return value

    yield call.map(widened)


def in_range(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    for path, _, value in tensors(call, failure):
        if value.kind == "long" and value.high > 1:
            for high in (2, 1):
                yield call.at(path, replace(value, high=high))
    wanted = match.groupdict().get("index")
    if wanted is not None:
        got = int(match.groupdict().get("size") or 0)
        yield from _any_size(call, failure, got, int(wanted) + 1)
    yield from larger(call, failure, match)


def unpackable(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """A shape or a sequence with another length than is unpacked."""
    wanted = int(match["wanted"])
    yield from reshaped(call, failure, lambda shape: of_rank(shape, wanted) if wanted <= 5 else shape)
    yield from reshaped(call, failure, lambda shape: (wanted, *shape[1:]) if shape else shape)
    for path, _, value in places(call, failure):
        if isinstance(value, Several) and value.items:
            yield call.at(path, replace(value, items=(value.items * wanted)[:wanted]))
        elif isinstance(value, (Tensor, Plain)):
            yield call.at(path, Several((value,) * wanted, is_list=False))


def viewable(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """A view that doesn't fit: sizes that are multiples of those it names."""
    sizes = [int(size) for size in re.findall(r"-?\d+", match["shape"])]
    for count in (2, 3, 1):
        product = 1
        for size in sizes[-count:]:
            product *= max(1, size)
        yield from reshaped(call, failure, lambda s, p=product: (*s[:-1], p) if s else s)  # type: ignore[misc]
    rank = len(sizes)
    yield from reshaped(call, failure, lambda s: tuple(abs(n) if n != -1 else SIZE for n in sizes) if s else s)
    yield from reshaped(call, failure, lambda s: of_rank(s, rank) if rank <= 5 else s)
    yield from larger(call, failure, match)


def wanted_shape(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    wanted = tuple(int(size) for size in re.findall(r"\d+", match["shape"]))
    yield from reshaped(call, failure, lambda s: (*s[: max(0, len(s) - len(wanted))], *wanted))
    yield from reshaped(call, failure, lambda s: (SIZE, *wanted))
    if len(wanted) == 1:
        for path, _, value in places(call, failure):
            if isinstance(value, Plain) and value.value == wanted[0]:
                yield call.at(path, Plain(SIZE))


def divisible(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    for path, _, value in places(call, failure):
        if isinstance(value, Plain) and type(value.value) is int:
            yield from (call.at(path, Plain(number)) for number in (8, 16, 2, 1, 4, 32, 64) if number != value.value)
    yield from larger(call, failure, match)


def ends_as(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The sizes that are expected in the last dimensions of what has those that came there."""
    wanted, got = (tuple(int(size) for size in re.findall(r"\d+", match[name])) for name in ("wanted", "got"))
    if len(wanted) == len(got):
        yield from reshaped(call, failure, lambda s: (*s[: -len(got)], *wanted) if s[-len(got) :] == got else s)


def exactly(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The shape that is expected for what has the one that came."""
    wanted, got = (tuple(int(size) for size in re.findall(r"\d+", match[name])) for name in ("wanted", "got"))
    yield from reshaped(call, failure, lambda shape: wanted if shape == got else shape)


def as_told(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The shape that a message of the user's own names: "must have shape (*, 3, H, W)"."""
    clue = Clue()
    documented(re.sub(r"['\"]", "", failure.message), clue)
    if clue.shape is not None:
        told = tuple(size or SIZE for size in clue.shape)
        yield from reshaped(call, failure, lambda shape: told)
        yield from reshaped(call, failure, lambda shape: (SIZE, *told))


def resized(call: Call, failure: Failure) -> Iterator[Call]:
    """One dimension of one tensor otherwise, when nothing says which."""
    for size in (3, 1, 2, 8, 16):
        for path, _, value in tensors(call, failure):
            for index in range(len(value.shape)):
                yield call.at(path, replace(value, shape=(*value.shape[:index], size, *value.shape[index + 1 :])))
