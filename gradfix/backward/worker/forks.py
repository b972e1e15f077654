"""Processes that a run's own code forks: where one of them goes on in the program, nothing that is told counts.

Each of them holds the end of a pipe until it ends or becomes another program. What goes on writes to it, and the run
waits for its end: so it doesn't depend on which of the two is faster. Those that a library forks (workers of
`multiprocessing`, say) do what they are told and aren't waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from os import _exit  # the user's code may replace what `os` holds

from gradfix.backward.worker.installed import is_installed


class Forks:
    """The forks of this process from now on, until they are waited for."""

    def __init__(self) -> None:
        self._own = os.getpid()
        self._read, self._write = os.pipe()  # other programs inherit neither
        self._of_library = self._over = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def leave(self) -> None:
        """End this process if it is a fork: there is nothing left that it has to do."""
        if os.getpid() != self._own:
            _exit(0)

    def tell(self) -> None:
        """End this process if it is a fork that goes on as the run does. Workers may make passes of their own."""
        if os.getpid() == self._own or self._of_library:
            return
        with contextlib.suppress(OSError):
            os.write(self._write, b".")
        _exit(0)

    def go_on(self, seconds: float) -> bool:
        """Whether a fork goes on in the program; also where that isn't decided after so many seconds."""
        self._over = True
        try:
            os.close(self._write)
            ready, _, _ = select.select([self._read], [], [], seconds)
            return not ready or os.read(self._read, 1) != b""
        except (OSError, ValueError):
            return False  # the user's code has closed it
        finally:
            with contextlib.suppress(OSError):
                os.close(self._read)

    def _begin(self) -> None:
        """First of all in a fork."""
        caller = sys._getframe(1)
        ours = str(caller.f_globals.get("__name__")).startswith("gradfix.backward.")
        if not self._over and (ours or is_installed(caller.f_code.co_filename)):
            self._of_library = True
            with contextlib.suppress(OSError):
                os.close(self._write)
