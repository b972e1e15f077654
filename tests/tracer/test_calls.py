"""Recorded calls come back as they were, and the check replays them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lending import Lender  # noqa: E402

from gradfix.backward.cases import RecordedCall, recorded  # noqa: E402
from gradfix.findings import Verdict  # noqa: E402
from gradfix.tracer import calls  # noqa: E402


def times_one(leaf: torch.Tensor, label: str) -> torch.Tensor:
    return leaf * 1


def round_trip(folder: Path, *args: object, **kwargs: object) -> tuple[tuple, dict]:
    calls.save(str(folder / "call"), "a.py", "f", args, kwargs)
    found_args, found_kwargs, _ = calls.load(str(folder / "call.pt"), "a", times_one)
    return found_args, found_kwargs


def test_values_strides_and_shared_memory_come_back(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    args, kwargs = round_trip(tmp_path, base, base[1], [base.t()], n=3, wide=torch.ones(1).expand(5), h=base.half())
    assert [torch.equal(a, b) for a, b in zip(args[:2], (base, base[1]), strict=True)] == [True, True]
    assert args[2][0].stride() == (1, 4)
    assert (kwargs["n"], kwargs["wide"].stride(), kwargs["h"].dtype) == (3, (0,), torch.float16)
    args[0][1, 0] = 100.0
    assert args[1][0] == 100.0
    assert args[2][0][0, 1] == 100.0
    assert base[1, 0] == 4.0


def test_what_autograd_made_of_a_tensor_comes_back(tmp_path: Path) -> None:
    leaf = torch.randn(3, requires_grad=True)
    result = leaf * 2
    module = torch.nn.Linear(3, 3).eval()
    args, _ = round_trip(tmp_path, leaf, result, result[1:], torch.arange(3), module)
    assert (args[0].is_leaf, args[0].requires_grad) == (True, True)
    assert (args[1].is_leaf, args[1].requires_grad, torch.equal(args[1], result)) == (False, True, True)
    assert not args[3].requires_grad
    assert isinstance(args[4].weight, torch.nn.Parameter)
    assert torch.equal(args[4].weight, module.weight)
    assert not args[4].training
    with torch.no_grad():
        args[1][1] = 7.0
    assert args[2][0] == 7.0


def test_the_same_object_stays_one(tmp_path: Path) -> None:
    tensor = torch.ones(2)
    args, _ = round_trip(tmp_path, tensor, [tensor, {"again": tensor}])
    assert args[1][0] is args[0]
    assert args[1][1]["again"] is args[0]


def test_large_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MOST_BYTES", 100)
    with pytest.raises(calls.CallTooLargeError):
        round_trip(tmp_path, torch.ones(1000))
    assert list(tmp_path.iterdir()) == []


TEXT = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(4, 4)

    def forward(self, x, row):
        h = self.a(x).sigmoid()
        h += x
        row[0] = 1
        return h * x.sum()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the backward check runs on Linux only")
def test_the_check_replays_a_recorded_call(lender: Lender, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(TEXT)
    space: dict = {"__name__": "__main__"}
    main = sys.modules["__main__"]
    exec(TEXT, space)
    net = space["Net"]
    net.__module__ = "__main__"
    before = getattr(main, "Net", None)
    main.Net = net  # type: ignore[attr-defined]
    try:
        x = torch.randn(2, 4, requires_grad=True) * 1
        calls.save(str(tmp_path / "one"), "net.py", "Net.forward", (net(), x), {"row": x[0]})
    finally:
        if before is None:
            del main.Net  # type: ignore[attr-defined]
    (tmp_path / "other.json").write_text(json.dumps({"format": 1, "file": "net.py", "function": "f"}))
    (case,) = recorded(tmp_path, "net.py")
    assert case == RecordedCall(str(tmp_path / "one.pt"), "Net.forward")
    with lender.checker(tmp_path) as checker:
        right = checker.judge(
            tmp_path / "net.py", TEXT, TEXT.replace("h += x", "h = h + x"), case, frozenset({11}), frozenset({11})
        )
        wrong = checker.judge(
            tmp_path / "net.py", TEXT, TEXT.replace("h += x", "h = h - x"), case, frozenset({11}), frozenset({11})
        )
    assert (right.verdict, right.ran) == (Verdict.FIXED, "recorded call of Net.forward"), right
    assert right.remaining == ("`row[0] = 1` in line 12 overwrites what `linear` saved in line 10",)  # memory is shared
    assert wrong.verdict is Verdict.REJECTED
