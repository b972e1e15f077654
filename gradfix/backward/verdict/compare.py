"""Compares two runs, number by number, from what they reported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gradfix.backward.protocol import Event, Leaf, Tensor

_EPSILON = {"float64": 2.0**-52, "complex128": 2.0**-52, "float32": 2.0**-23, "complex64": 2.0**-23}
_EPSILON |= {"float": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
RELATIVE = 100.0  # in units of the type's epsilon: another order of summation, not another result
ABSOLUTE = 16.0  # the same against the largest magnitude in the tensor
_NARROW = {"float16": 0.06, "bfloat16": 0.06}  # of that, where a unit is large, and sums are made in wider types


class DiffersError(Exception):
    """The runs differ; the message says where, with numbers."""


class OutsideError(DiffersError):
    """What is written to files or printed differs, as it may by the time of day, too."""


class RoundingError(DiffersError):
    """A gradient differs by what rounding may do to others as large as those of the same pass."""


@dataclass(slots=True)
class Agreement:
    """How well what was compared agrees; filled while comparing."""

    slack: float = 1.0  # factor on all tolerances
    volatile: frozenset[str] = frozenset()  # what two runs of the original leave otherwise
    connects: bool = False  # what had no graph may have one
    cancels: bool = False  # of terms as large as the largest gradient, only rounding may be left
    bitwise: bool = True
    forward: float = 0.0  # largest difference of losses, against the largest magnitude of its tensor
    largest: float = 0.0  # absolute difference of gradients
    relative: float = 0.0  # the same, against the largest magnitude of its tensor
    gained: dict[str, bool] = field(default_factory=dict)  # leaf -> whether its new gradient is nonzero
    summed: bool = False  # a loss became its sum
    passes: int = 0  # compared, losses and gradients

    def fresh(self) -> Agreement:
        """The same tolerances, nothing compared."""
        return Agreement(self.slack, self.volatile, connects=self.connects, cancels=self.cancels)

    def merge(self, other: Agreement) -> None:
        """Take in what another comparison has found."""
        self.bitwise &= other.bitwise
        self.forward = max(self.forward, other.forward)
        self.largest = max(self.largest, other.largest)
        self.relative = max(self.relative, other.relative)
        self.summed |= other.summed
        for leaf, nonzero in other.gained.items():
            self.gained[leaf] = self.gained.get(leaf, False) or nonzero


def same_passes(before: Sequence[Event], after: Sequence[Event], agreement: Agreement) -> None:
    """Losses and gradients of passes that belong together are equal, as many as both have. Raises `DiffersError`.

    Where the first pass raised, only its losses are compared; after a loss that isn't finite, nothing is. Once
    something agrees up to rounding only, an optimizer carries that on: the tolerance then grows with each pass.
    """
    given = agreement.slack
    for number, (one, other) in enumerate(zip(before, after, strict=False)):
        agreement.slack = given if agreement.bitwise else given * (1 + 4 * number)
        same_roots(one, other, agreement)
        if not all(map(is_finite, one.roots)):
            break
        if one.error is None:
            same_gradients(one, other, agreement)
            agreement.passes += not _is_blank(one)
    agreement.slack = given


def _is_blank(event: Event) -> bool:
    """Whether no element of any gradient is a number, so that nothing was compared."""
    known = [leaf.gradient for leaf in event.leaves if leaf.gradient is not None and 0 not in leaf.gradient.shape]
    return bool(known) and all(
        gradient.values is not None and not any(v == v for v in gradient.values) for gradient in known
    )


def same_roots(before: Event, after: Event, agreement: Agreement) -> None:
    """The losses of one pass are equal. Raises `DiffersError`."""
    if before.kind != after.kind:
        raise DiffersError(f"{_place(after)}: autograd.{before.kind} before, autograd.{after.kind} after")
    if len(before.roots) != len(after.roots):
        raise DiffersError(f"{_place(after)}: {len(before.roots)} outputs before, {len(after.roots)} after")
    for number, (one, other) in enumerate(zip(before.roots, after.roots, strict=False)):
        what = "the loss" if len(before.roots) == 1 else f"output {number}"
        if math.prod(one.shape) != 1 and math.prod(other.shape) == 1 and one.values is not None:
            _same_sum(one, other, f"{what} at {_place(after)}", agreement)
            continue
        difference, scale = distance(one, other, f"{what} at {_place(after)}", agreement, improve=False)
        agreement.forward = max(agreement.forward, difference / scale if scale else 0.0)
    if before.rng != after.rng:
        raise DiffersError(f"{_place(after)}: other random numbers were drawn by then")


def _same_sum(one: Tensor, other: Tensor, what: str, agreement: Agreement) -> None:
    terms = one.values or ()
    total, got = math.fsum(terms), math.nan if other.values is None else float(other.values[0])
    size = math.fsum(map(abs, terms))
    if one.dtype != other.dtype or not abs(total - got) <= _tolerance(one.dtype, agreement) * size:
        raise DiffersError(f"{what} is {one} before, {got:.9g} after, not its sum {total:.9g}")
    agreement.summed = True


def same_gradients(before: Event, after: Event, agreement: Agreement) -> None:
    """Every leaf gets the same gradient. Raises `DiffersError`.

    Leaves only the second pass reaches are noted as gained.
    """
    same_leaves(before.leaves, after.leaves, _place(after), agreement)


def same_leaves(before: Sequence[Leaf], after: Sequence[Leaf], place: str, agreement: Agreement) -> None:
    """The same for the leaves of a pass at `place`."""
    pairs, lost, gained = match_leaves(before, after)
    size = max((magnitude(leaf.gradient) for leaf in before if leaf.gradient is not None), default=0.0)
    for leaf in lost:
        if leaf.gradient is not None:
            raise DiffersError(f"{place}: {name(leaf)} no longer receives a gradient")
    for one, other in pairs:
        what = f"the gradient of {name(one if one.names else other)} at {place}"
        if one.gradient is None:
            if other.gradient is not None:
                agreement.gained[name(other)] = is_nonzero(other.gradient)
            continue
        if other.gradient is None:
            raise DiffersError(f"{what} is None after, was {one.gradient}")
        difference, scale = distance(one.gradient, other.gradient, what, agreement, improve=True, size=size)
        agreement.largest = max(agreement.largest, difference)
        agreement.relative = max(agreement.relative, difference / scale if scale else 0.0)
    for leaf in gained:
        if leaf.gradient is not None:
            if has_nan(leaf.gradient):
                raise DiffersError(f"the gradient of {name(leaf)} at {place} is NaN after, was None")
            agreement.gained[name(leaf)] = is_nonzero(leaf.gradient)


def match_leaves(
    before: Sequence[Leaf], after: Sequence[Leaf]
) -> tuple[list[tuple[Leaf, Leaf]], list[Leaf], list[Leaf]]:
    """Pair the leaves of two passes by name and content, as far as those go. Returns pairs, lost ones, gained ones.

    After a first step of an optimizer contents agree up to rounding only, and a leaf need not have a name. Two with
    other names are two leaves, whatever they hold.
    """
    pairs: list[tuple[Leaf, Leaf]] = []
    lost, gained = list(before), list(after)
    for alike in (_same_name_and_content, _same_name_and_shape, _same_content, _same_shape_unnamed):
        for leaf in list(lost):
            partner = next((other for other in gained if alike(leaf, other)), None)
            if partner is not None:
                pairs.append((leaf, partner))
                lost.remove(leaf)
                gained.remove(partner)
    return pairs, lost, gained


def _same_name_and_content(one: Leaf, other: Leaf) -> bool:
    return one.key == other.key and _same_name_and_shape(one, other)


def _same_name_and_shape(one: Leaf, other: Leaf) -> bool:
    return bool(set(one.names) & set(other.names)) and _same_shape(one, other)


def _same_content(one: Leaf, other: Leaf) -> bool:
    return one.key == other.key and not (one.names and other.names)


def _same_shape(one: Leaf, other: Leaf) -> bool:
    return one.key.partition("#")[0] == other.key.partition("#")[0]


def _same_shape_unnamed(one: Leaf, other: Leaf) -> bool:
    return _same_shape(one, other) and not (one.names and other.names)


def distance(
    one: Tensor, other: Tensor, what: str, agreement: Agreement, *, improve: bool, size: float = 0.0
) -> tuple[float, float]:
    """Largest difference and largest magnitude. Raises `DiffersError` beyond the tolerance of the dtype.

    With `improve`, a number where the first tensor has NaN is accepted. Raises `RoundingError` for what is small
    against `size`: terms as large may have cancelled.
    """
    if (one.dtype, one.shape, one.layout) != (other.dtype, other.shape, other.layout):
        raise DiffersError(f"{what} is {one} before, {other} after")
    tolerance = _tolerance(one.dtype, agreement)
    floor = tolerance * ABSOLUTE / RELATIVE
    if one.values is None or other.values is None:
        return _projected_distance(one, other, what, tolerance, agreement, size)
    if one.values == other.values and not improve:
        return 0.0, magnitude(one)
    if one.values.tobytes() == other.values.tobytes():
        return 0.0, magnitude(one)
    scale = magnitude(one)
    largest = 0.0
    for index, (a, b) in enumerate(zip(one.values, other.values, strict=False)):
        if a == b or (a != a and (b != b or improve)):
            continue
        gap = abs(a - b)
        if not gap <= tolerance * max(abs(a), abs(b)) + floor * scale or math.isinf(gap):
            message = f"{what} is {_number(a)} before, {_number(b)} after{_at(index, one.shape)}"
            if not gap <= floor * size:
                raise DiffersError(message)
            if not agreement.cancels:
                raise RoundingError(message)
        largest = max(largest, gap)
    agreement.bitwise = agreement.bitwise and largest == 0.0
    return largest, max(scale, size) if agreement.cancels else scale


def _projected_distance(
    one: Tensor, other: Tensor, what: str, tolerance: float, agreement: Agreement, size: float
) -> tuple[float, float]:
    if one.digest is not None and one.digest == other.digest:
        return 0.0, one.norm
    if one.digest is None or other.digest is None or one.nans != other.nans:
        raise DiffersError(f"{what} differs ({one.nans} NaN before, {other.nans} after)")
    allowed = tolerance * max(one.norm, other.norm)
    gaps = [abs(a - b) for a, b in zip((one.norm, *one.projections), (other.norm, *other.projections), strict=False)]
    if not max(gaps) <= allowed:
        message = f"{what} differs: norm {one.norm:.9g} before, {other.norm:.9g} after"
        if not max(gaps) <= tolerance * size:
            raise DiffersError(message)
        if not agreement.cancels:
            raise RoundingError(message)
    agreement.bitwise = False
    return max(gaps), one.norm


def _tolerance(dtype: str, agreement: Agreement) -> float:
    return RELATIVE * agreement.slack * _EPSILON.get(dtype, 0.0) * _NARROW.get(dtype, 1.0)


def _finite(values: Sequence[float]) -> Iterator[float]:
    return (value for value in values if math.isfinite(value))


def magnitude(tensor: Tensor) -> float:
    """The largest magnitude of an element, or what it is at most."""
    return tensor.norm if tensor.values is None else max(map(abs, _finite(tensor.values)), default=0.0)


def is_nonzero(tensor: Tensor) -> bool:
    """Whether any element differs from zero."""
    return tensor.norm != 0.0 if tensor.values is None else any(tensor.values)


def is_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite."""
    if tensor.values is None:
        return tensor.nans == 0 and tensor.norm < 1e150
    return all(map(math.isfinite, tensor.values))


def has_nan(tensor: Tensor) -> bool:
    """Whether any element is NaN."""
    return tensor.nans > 0 if tensor.values is None else any(value != value for value in tensor.values)


def name(leaf: Leaf) -> str:
    """The user's name of a leaf, or its type and shape."""
    return f"`{leaf.names[0]}`" if leaf.names else f"a leaf {leaf.key.partition('#')[0]}"


def _place(event: Event) -> str:
    return "the call" if event.line is None else f"line {event.line}"


def _number(value: float) -> str:
    return f"{value:.9g}"


def _at(index: int, shape: tuple[int, ...]) -> str:
    if not shape or len(shape) > 4:
        return ""
    place = []
    for size in reversed(shape):
        place.append(index % size if size else 0)
        index //= size or 1
    return f" at {list(reversed(place))}"
