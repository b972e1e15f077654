"""What an operation in place keeps of what it wrote to, held against torch: backward through it goes twice, or not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from gradfix.analysis.hazards.gradients import keeps_copy  # noqa: E402

ARGUMENTS = {"add_": (2,), "sub_": (2,), "mul_": (2.5,), "div_": (2.5,), "clamp_": (0.1, 0.5), "cumsum_": (0,)}
PASSED_AGAIN = ["add_", "sub_", "neg_", "cumsum_", "round_", "sign_"]
FREED = "mul_ div_ clamp_ sin_ cos_ log_ square_ abs_ atan_ erf_ lgamma_ nan_to_num_".split()
RESULT_FREED = ["exp_", "sigmoid_", "tanh_", "sqrt_", "relu_"]  # what they give is kept, no copy


def goes_twice(name: str) -> bool:
    """Whether torch takes a second backward through the method."""
    written = torch.tensor([0.2, 0.4, 0.6], requires_grad=True) + 0
    total = getattr(written, name)(*ARGUMENTS.get(name, ())).sum()
    total.backward()
    try:
        total.backward()
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("name", [*PASSED_AGAIN, *FREED, *RESULT_FREED])
def test_a_copy_is_freed_by_backward(name: str) -> None:
    assert goes_twice(name) == (name in PASSED_AGAIN)
    assert keeps_copy(name) == (name in FREED)
