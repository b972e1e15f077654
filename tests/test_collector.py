"""How long what nobody can reach any more may lie around while files are looked at."""

from __future__ import annotations

import gc
import weakref

from gradfix import collector
from gradfix.analysis.analyse import analyse
from gradfix.source import Source

LAYERS = """import torch

class Act(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.act = torch.nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(x)

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = Act(), Act(), Act()

    def forward(self, x):
        return self.second(self.first(x.sigmoid()))
"""


class _Circle:
    def __init__(self) -> None:
        self.itself = self


def test_circles_are_let_go_of_once_there_is_much_that_is_new() -> None:
    with collector.seldom(room=5_000) as look:
        circle = weakref.ref(_Circle())
        look()
        assert circle() is not None
        kept = [[] for _ in range(20_000)]  # type: ignore[var-annotated]
        look()
        assert circle() is None
        later = weakref.ref(_Circle())
        kept += [[] for _ in range(10_000)]
        look()
        assert later() is not None  # there are more than these already
    assert gc.isenabled()


def test_who_has_no_collector_gets_none() -> None:
    gc.disable()
    try:
        with collector.seldom(room=1) as look:
            circle = weakref.ref(_Circle())
            look()
            assert circle() is not None
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_states_of_an_analysis_go_without_a_collector() -> None:
    gc.collect()
    with collector.paused():
        analyse(Source.from_text("layers.py", LAYERS))
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = {type(one).__name__ for one in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert not left & {"State", "Layers", "Machine"}
