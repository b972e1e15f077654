"""Several checkers side by side, one a thread, on one budget."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gradfix.backward.checker import Checker
from gradfix.backward.limits import Budget, Limits

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Pool:
    """Starts up to `jobs` guarded servers, each when first needed. Leaving the `with` ends them all, at any moment."""

    def __init__(self, python: str, *, trust: bool, limits: Limits, jobs: int = 1, keep: bool = False) -> None:
        """`keep` leaves the evidence of rejected fixes in a new folder."""
        self._python, self._trust, self._limits, self._jobs = python, trust, limits, max(1, jobs)
        self._budget = Budget(limits.total)
        self._own = threading.local()
        self._started: list[Checker] = []
        self._lock = threading.Lock()
        self._closed = False
        self._kept = Path(tempfile.mkdtemp(prefix="gradfix-failed-")) if keep else None

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def walls(self) -> tuple[str, ...]:
        """What stood around the runs, once there were any."""
        return next((checker.walls for checker in self._started if checker.walls), ())

    @property
    def fresh(self) -> bool:
        """Whether runs were processes of their own, that import torch each."""
        return any(checker.fresh for checker in self._started)

    @property
    def kept(self) -> Path | None:
        """The folder with the evidence of rejected fixes; None where there is none."""
        return self._kept if self._kept is not None and any(self._kept.iterdir()) else None

    def each(self, work: Callable[[Item, Checker], Outcome], items: Sequence[Item]) -> Iterator[Outcome]:
        """The outcome of `work` for every item, in their order. Abandoned, the work under way is ended."""
        if self._jobs == 1:
            for item in items:
                yield work(item, self._checker())
            return
        threads = ThreadPoolExecutor(min(self._jobs, len(items) or 1), thread_name_prefix="gradfix-check")
        try:
            for future in [threads.submit(lambda one: work(one, self._checker()), item) for item in items]:
                yield future.result()
        except BaseException:
            self._stop()  # so that no thread waits for a run any longer
            raise
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """End every server; what is under way comes to nothing."""
        self._stop()
        for checker in self._started:
            checker.close()
        if self._kept is not None and not any(self._kept.iterdir()):
            self._kept.rmdir()
            self._kept = None

    def _stop(self) -> None:
        with self._lock:
            self._closed = True
        for checker in self._started:
            checker.stop()

    def _checker(self) -> Checker:
        checker: Checker | None = getattr(self._own, "checker", None)
        if checker is None:
            checker = self._own.checker = Checker(
                python=self._python, trust=self._trust, limits=self._limits, budget=self._budget, keep=self._kept
            )
            with self._lock:
                self._started.append(checker)
                if self._closed:
                    checker.stop()
        return checker
