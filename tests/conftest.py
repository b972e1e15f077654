"""Settings of the whole suite."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from lending import Lender

from gradfix.backward.checker import Checker

# CI repeats itself: a run that failed there fails here. At home every run looks at other examples. No test is timed.
settings.register_profile("home", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("home"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The interpreter that runs users' code in the tests, with its release of torch, where it isn't this one.
if other := os.environ.get("GRADFIX_TEST_PYTHON"):
    os.environ["VIRTUAL_ENV"] = str(Path(other).absolute().parent.parent)
    Checker.__init__.__kwdefaults__["python"] = other


def pytest_collection_finish() -> None:
    """Keep Python's collector from going through thousands of collected tests, and torch, again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def lender() -> Iterator[Lender]:
    one = Lender()
    yield one
    one.close()


@pytest.fixture
def lent(lender: Lender) -> Iterator[None]:
    """Checkers of this test take servers that others have used."""
    with lender.lending():
        yield
