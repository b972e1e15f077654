"""The comparison of reported numbers, without any run."""

from __future__ import annotations

import math
from array import array

import pytest

from gradfix.backward.protocol import Event, Leaf, ProtocolError, Tensor, run_of
from gradfix.backward.verdict.compare import (
    Agreement,
    DiffersError,
    RoundingError,
    distance,
    match_leaves,
    same_passes,
)
from gradfix.backward.verdict.printed import same_print


def tensor(*values: float, dtype: str = "float32") -> Tensor:
    code = "d" if dtype == "float64" else "f"
    return Tensor(dtype, (len(values),), False, array(code, values))


def leaf(gradient: Tensor | None, *names: str, key: str = "float32[1]#0") -> Leaf:
    return Leaf(names, key, gradient)


def event(loss: Tensor, *leaves: Leaf, rng: str = "r") -> Event:
    return Event("backward", 1, rng, (loss,), leaves, None, ())


def test_equal_bits_are_bitwise() -> None:
    agreement = Agreement()
    assert distance(tensor(1.0, math.nan), tensor(1.0, math.nan), "it", agreement, improve=False)[0] == 0.0
    assert agreement.bitwise


def test_another_order_of_summation_is_accepted_and_said() -> None:
    agreement = Agreement()
    gap, scale = distance(tensor(1.0, 2.0), tensor(1.0 + 2**-22, 2.0), "it", agreement, improve=False)
    assert (gap, scale) == (2**-22, 2.0)
    assert not agreement.bitwise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(tensor(1.0), tensor(1.001), id="value"),
        pytest.param(tensor(0.0, 1.0), tensor(1e-4, 1.0), id="a zero that isn't"),
        pytest.param(tensor(1.0), tensor(1.0, dtype="float64"), id="dtype"),
        pytest.param(tensor(1.0), tensor(1.0, 1.0), id="shape"),
        pytest.param(tensor(1.0), tensor(math.nan), id="new NaN"),
        pytest.param(tensor(math.inf), tensor(-math.inf), id="sign of infinity"),
        pytest.param(tensor(1.0), tensor(math.inf), id="new infinity"),
    ],
)
def test_differences(one: Tensor, other: Tensor) -> None:
    for improve in (False, True):
        with pytest.raises(DiffersError):
            distance(one, other, "it", Agreement(), improve=improve)


def test_nan_may_become_a_number_in_gradients_alone() -> None:
    distance(tensor(math.nan), tensor(1.0), "it", Agreement(), improve=True)
    with pytest.raises(DiffersError):
        distance(tensor(math.nan), tensor(1.0), "it", Agreement(), improve=False)


def test_large_tensors_are_compared_by_digest_and_projections() -> None:
    one = Tensor("float32", (99999,), False, None, "a", 10.0, (1.0, 2.0), 0)
    near = Tensor("float32", (99999,), False, None, "b", 10.0, (1.0, 2.00001), 0)
    far = Tensor("float32", (99999,), False, None, "c", 10.0, (1.0, 2.1), 0)
    agreement = Agreement()
    distance(one, one, "it", agreement, improve=False)
    assert agreement.bitwise
    distance(one, near, "it", agreement, improve=False)
    assert not agreement.bitwise
    with pytest.raises(DiffersError):
        distance(one, far, "it", agreement, improve=False)


def test_leaves_are_matched_by_name_then_content() -> None:
    a, b = leaf(None, "a", key="float32[1]#1"), leaf(None, "b", key="float32[1]#2")
    moved = leaf(None, "a", key="float32[1]#3")  # an optimizer has stepped
    nameless = leaf(None, key="float32[1]#2")
    pairs, lost, gained = match_leaves((a, b), (nameless, moved))
    assert (pairs, lost, gained) == ([(a, moved), (b, nameless)], [], [])


def test_a_lost_gradient_differs_and_a_gained_one_is_noted() -> None:
    loss, gradient = tensor(1.0), tensor(2.0)
    with pytest.raises(DiffersError, match="`x` no longer receives a gradient"):
        same_passes([event(loss, leaf(gradient, "x"))], [event(loss)], Agreement())
    agreement = Agreement()
    same_passes([event(loss)], [event(loss, leaf(tensor(0.0), "x"))], agreement)
    assert agreement.gained == {"`x`": False}
    same_passes([event(loss)], [event(loss, leaf(gradient, "x"))], agreement)
    assert agreement.gained == {"`x`": True}


@pytest.mark.parametrize("cancels", [False, True])
def test_what_is_small_against_the_largest_gradient_may_be_rounding(cancels: bool) -> None:
    loss, large = tensor(1.0), leaf(tensor(100.0), "w")
    pair = [[event(loss, large, leaf(tensor(small), "b", key="float32[1]#2"))] for small in (1e-6, 2e-6)]
    agreement = Agreement(cancels=cancels)
    if cancels:
        same_passes(*pair, agreement)
        assert not agreement.bitwise
    else:
        with pytest.raises(RoundingError, match="gradient of `b`"):
            same_passes(*pair, agreement)
    far = [[event(loss, large, leaf(tensor(small), "b", key="float32[1]#2"))] for small in (1e-6, 2e-3)]
    with pytest.raises(DiffersError) as found:
        same_passes(*far, Agreement(cancels=cancels))
    assert not isinstance(found.value, RoundingError)


def test_other_random_numbers_differ() -> None:
    with pytest.raises(DiffersError, match="random numbers"):
        same_passes([event(tensor(1.0))], [event(tensor(1.0), rng="s")], Agreement())


def test_nothing_is_concluded_after_a_loss_that_is_not_finite() -> None:
    agreement, loss = Agreement(), tensor(math.nan)
    same_passes([event(loss, leaf(tensor(1.0), "x"))], [event(loss, leaf(tensor(2.0), "x"))], agreement)
    assert agreement.passes == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("tensor([1.], grad_fn=<CopySlices>)", "tensor([1.], grad_fn=<WhereBackward0>)", id="graph node"),
        pytest.param("<f at 0x7f00>", "<f at 0x7fab>", id="address"),
        pytest.param("loss 0.123456", "loss 0.123457", id="last digit"),
    ],
)
def test_prints_that_count_as_the_same(before: str, after: str) -> None:
    assert same_print(before, after, prefix=False) is None


def test_prints_that_differ() -> None:
    assert same_print("loss 0.5", "loss 0.7", prefix=False) == "printed 'loss 0.5' before, 'loss 0.7' after"
    assert same_print("a\n", "a\nb\n", prefix=False) == "printed 1 lines before, 2 after"
    assert same_print("a\n", "a\nb\n", prefix=True) is None


def test_a_report_that_makes_no_sense_is_refused() -> None:
    end = {"seconds": 1, "killed": None, "status": 0, "left": 0, "output": "", "errors": ""}
    assert run_of([], end).events == ()
    for said in ({"event": 3}, {"event": {}}, {"ended": []}):
        with pytest.raises(ProtocolError):
            run_of([said], end)
