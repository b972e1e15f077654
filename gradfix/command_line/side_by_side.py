"""Files looked at side by side, in processes forked off this one: what is loaded here needn't be loaded there again.

Where Python can't fork with good conscience (other systems than Linux, a process with threads) and where there is too
little to do, it is one after the other. Both ways give the same, in the order of the files.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from gradfix import collector

LEAST = 100_000  # characters for each process: below it takes longer to have one more than to do the work here

X = TypeVar("X")
Y = TypeVar("Y")


def processes(characters: int, jobs: int | None) -> int:
    """How many are worth while for a text of that length: `jobs` at most, by default one for each core we may use."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return 1
    return max(1, min(jobs or len(os.sched_getaffinity(0)), characters // LEAST))


def each(work: Callable[[X], Y], given: Sequence[X], number: int) -> Iterator[Y]:
    """`work` of all that is given, by so many processes. What `work` raises there is raised here."""
    done = 0
    if number > 1:
        for result in _forked(work, given, number):
            yield result
            done += 1
    with collector.seldom() as collect:
        for one in given[done:]:
            yield work(one)
            collect()


def _forked(work: Callable[[X], Y], given: Sequence[X], number: int) -> Iterator[Y]:
    """As far as it goes: it ends early where the system ends one of the processes (for its memory, say)."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    pool = ProcessPoolExecutor(number, get_context("fork"), initializer=_begin, initargs=(work, given))
    try:
        waiting = [pool.submit(_done, index) for index in reversed(range(len(given)))]
        for one in given:
            data = waiting.pop().result()
            yield work(one) if data is None else pickle.loads(data)
    except BrokenProcessPool:
        return
    finally:  # also of Ctrl-C: what nobody waits for any more ends at once
        for child in active_children():
            child.terminate()
        pool.shutdown()  # without cancelling: the pool's own thread may fail on what is cancelled while it breaks


_task: Callable[[int], object]  # of a forked process


def _begin(work: Callable[[X], Y], given: Sequence[X]) -> None:
    """In a forked process: it ends with the one it comes from, which alone hears Ctrl-C."""
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    collect = collector.seldom().__enter__()  # to the end of the process

    def task(index: int) -> Y:
        collect()
        return work(given[index])

    _task = task


def _end_with_parent() -> None:
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _done(index: int) -> bytes | None:
    """The result; None for one that can't be sent, as what codemods of one's own put into it may be."""
    result = _task(index)
    with suppress(pickle.PicklingError, AttributeError, TypeError, RecursionError):
        return pickle.dumps(result)
    return None
