"""Programs whose threads run backward passes at the same time."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Judge

from gradfix.backward.worker import turns
from gradfix.findings import Verdict

PROGRAM = """\
import threading, time
x = torch.randn(3, requires_grad=True)


def work():
    h = x * 1
    h.register_hook(lambda gradient: time.sleep(0.01))
    y = h.exp()
    y[0] = 0
    try:
        y.sum().backward()
    except RuntimeError:
        pass


threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize(
    ("new", "verdict"), [("y = y.clone()", Verdict.FIXED), ("y = y.detach() * h", Verdict.REJECTED)]
)
def test_a_rewrite_in_two_threads(judge: Judge, new: str, verdict: Verdict) -> None:
    judgement = judge(PROGRAM, "    y[0] = 0\n", f"    {new}\n    y[0] = 0\n")
    assert judgement.verdict is verdict, judgement


def test_one_thread_enters_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE", 60.0)
    inside, most = 0, 0
    own = turns.Turns()
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        entered.set()
        assert leave.wait(60)
        inside -= 1

    threads = [threading.Thread(target=own.taken(work)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert entered.wait(60)
    leave.set()
    for thread in threads:
        thread.join(60)
    assert most == 1


def test_who_is_inside_may_enter_again() -> None:
    own = turns.Turns()
    assert own.taken(lambda: own.taken(lambda: 3)())() == 3


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE", 0.01)
    own = turns.Turns()
    passed = threading.Event()

    def outer() -> None:
        other = threading.Thread(target=own.taken(passed.set))
        other.start()
        other.join(60)

    own.taken(outer)()
    assert passed.is_set()


def test_a_fork_has_its_engine_before_two_threads_come_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from gradfix.backward.worker import run

    in_forks: list[Callable[[], Any]] = []
    renewed: list[bool] = []
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: in_forks.append(after_in_child))
    monkeypatch.setattr(torch.autograd, "_is_checkpoint_valid", lambda: renewed.append(True))
    threads, drawn = torch.get_num_threads(), (torch.get_rng_state(), random.getstate())
    try:
        run.warm()
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
        torch.set_rng_state(drawn[0])
        random.setstate(drawn[1])
    assert not renewed
    for begin in in_forks:
        begin()
    assert renewed == [True]
