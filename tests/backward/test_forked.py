"""What is done in a fork of a run: how long its answer is waited for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gradfix.backward.worker import forked


def _late() -> dict[str, Any]:
    time.sleep(0.6)
    return {"came": "late"}


@pytest.mark.parametrize(("waited", "answer"), [(0.0, None), (60.0, {"came": "late"})])
def test_time_without_a_processor_is_not_a_forks_own(
    monkeypatch: pytest.MonkeyPatch, waited: float, answer: dict[str, Any] | None
) -> None:
    monkeypatch.setattr(forked, "PATIENCE", 100)
    monkeypatch.setattr(forked, "waited", lambda pid: waited)
    assert forked.in_a_fork(_late, 0.1) == answer


def test_a_fork_is_never_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "waited", lambda pid: 1000.0)
    started = time.monotonic()
    assert forked.in_a_fork(lambda: time.sleep(60) or {}, 0.05) is None
    assert time.monotonic() - started < 30
