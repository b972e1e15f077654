"""Which of the asked lines ran, and what errors came by: a local tracer on the functions of the files in question."""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable, Collection
from types import CodeType, FrameType
from typing import Any

Meet = Callable[[BaseException, FrameType], None]


class Lines:
    """Executed and executable lines of one file, among those asked for (1-based)."""

    def __init__(
        self, path: str, asked: frozenset[int], errors: Collection[str] = (), meet: Meet | None = None
    ) -> None:
        """`meet` is told each error that comes by in one of the files `errors`, with the frame, the innermost first."""
        self._path, self._asked = path, asked
        self._errors, self._meet = frozenset(errors), meet
        self._codes: set[CodeType] = set()
        self.executable: set[int] = set()
        self.executed: set[int] = set()

    def learn(self, code: CodeType) -> None:
        """Find the asked lines in a code object and all those nested in it."""
        own = {line for _, line in dis.findlinestarts(code) if line is not None} & self._asked
        if own:
            self._codes.add(code)
            self.executable |= own
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.learn(constant)

    def start(self) -> None:
        """Begin to watch; a run that asks for nothing is not traced at all."""
        if self.executable or self._meet is not None:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def stop(self) -> None:
        """Stop watching in this thread and in those to come."""
        sys.settrace(None)
        threading.settrace(None)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        file = frame.f_code.co_filename
        if file == self._path and frame.f_code in self._codes:
            return self._step
        if self._meet is not None and file in self._errors:
            frame.f_trace_lines = False
            return self._step
        return None

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            if frame.f_lineno in self._asked:
                self.executed.add(frame.f_lineno)
        elif event == "exception" and self._meet is not None:
            self._meet(arg[1], frame)
        return self._step
