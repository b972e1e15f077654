"""One run of the text: what is observed, what ends it, and its report."""

from __future__ import annotations

import contextlib
import sys
import tokenize
import traceback
import types
from collections.abc import Callable
from os import _exit  # the user's code may replace what `os` holds

from gradfix.backward.worker import call as worker_call
from gradfix.backward.worker import installed as worker_installed
from gradfix.backward.worker import tensors as worker_tensors
from gradfix.backward.worker.departures import departures, seed
from gradfix.backward.worker.elsewhere import left_elsewhere
from gradfix.backward.worker.forks import Forks
from gradfix.backward.worker.held import Constants
from gradfix.backward.worker.lines import Lines
from gradfix.backward.worker.messages import EndedMessage, OutcomeMessage, Said
from gradfix.backward.worker.modules import run_program
from gradfix.backward.worker.observe import Observer
from gradfix.backward.worker.outside import Outside
from gradfix.backward.worker.requests import Request
from gradfix.backward.worker.state import State, data_in, gradients_in, module_at, shared_by, trained_in
from gradfix.backward.worker.vary import Leaves
from gradfix.backward.worker.ways import told_to
from gradfix.tracer.trace import Tracer

Report = Callable[[Said], None]


class _Enough(BaseException):
    """Ends a run that others of this process follow, from inside the user's code."""


class Once:
    """One run. `last` is the one that the process ends with, whatever the user's code still has in mind.

    `known` is how many modules had been imported before it, `constants` what all runs of the process have in common.
    """

    def __init__(self, request: Request, report: Report, constants: Constants, *, known: int, last: bool) -> None:
        self._request, self._report, self._known, self._last = request, report, known, last
        self._leaves, self._constants = Leaves(request.plan), constants
        subject = request.entry or request.path
        self._observer = observer = Observer(
            self._tell, self._leaves, subject=subject, file=request.path, most=request.backwards
        )
        observer.directions = request.directions
        observer.forward_only = request.plan.direction is not None
        observer.skipped = request.skipped
        observer.ones = request.ones
        observer.kept = request.kept
        observer.quiet = request.measure
        observer.finish = self._finish
        meet = observer.meet if request.tells_errors else None
        self._lines = Lines(request.path, frozenset(request.lines), {request.path, subject}, meet)
        observer.executed = self._lines.executed
        self._tracer = Tracer(roots=(request.path,), within=request.path, go_on=True) if request.trace else None
        self._outside: Outside | None = None  # until it is made
        self._forks: Forks | None = None  # the same
        self._ended = False

    def make(self, code: types.CodeType) -> None:
        """Run the compiled text from its first line."""
        self._lines.learn(code)
        told_to(self._lines.executed.add)
        seed(self._request.seed)
        self._observer.install()
        self._outside, self._forks = Outside(), Forks()
        error: BaseException | None = None
        stopped = False
        try:
            with departures(self._request, self._leaves, self._constants), self._tracer or contextlib.nullcontext():
                self._lines.start()
                self._observer.clock.start()
                self._execute(code)
        except SystemExit as leaving:
            self._forks.leave()
            error = None if leaving.code in (None, 0) else leaving
        except _Enough:
            stopped = True
        except BaseException as raised:
            error = raised
            with contextlib.suppress(BaseException):
                traceback.print_exc()
        self._lines.stop()
        self.end(error, stopped=stopped)

    @property
    def left_files(self) -> bool:
        """Whether others of this process would find files of this run."""
        return self._outside is not None and self._outside.is_changed()

    def end(self, error: BaseException | None, *, stopped: bool) -> None:
        """The last message, once."""
        if self._forks is not None:
            self._forks.tell()
            self._forks.leave()
        if self._ended:
            _exit(0)
        self._ended = True
        seconds, memory = self._observer.clock.read()
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        tracer, lines, path = self._tracer, self._lines, self._request.path
        outcome = self._observer.outcome or self._outcome(error)
        ended: EndedMessage = {
            "error": None if error is None else worker_tensors.error(error, path),
            "stopped": stopped,
            "executed": sorted(lines.executed),
            "executable": sorted(lines.executable),
            "rng": outcome["rng"],
            "stops": sorted(self._leaves.stops),
            "conflicts": [] if tracer is None else [one.as_message() for one in tracer.conflicts()],
            "arguments": outcome["arguments"],
            "results": outcome["results"],
            "state": outcome["state"],
            "gradients": outcome["gradients"],
            "sharing": outcome["sharing"],
            "passes": outcome["passes"],
            "seconds": seconds,
            "memory": memory,
            "used": worker_installed.met(path, self._known),
            "forked": self._forks is not None and self._forks.go_on(self._request.seconds / 2),
        }
        self._report({"ended": ended})
        if self._outside is not None:
            self._outside.restore()
        if self._last:
            _exit(0)

    def _tell(self, said: Said) -> None:
        if self._forks is not None:
            self._forks.tell()
        self._report(said)

    def _outcome(self, error: BaseException | None) -> OutcomeMessage:
        """What a program leaves, or a call that backward passes have kept from its end."""
        request, observer = self._request, self._observer
        is_program = request.call is None and request.entry is None
        module = module_at(request.path, is_program) if request.tells_state and error is None else None
        state = State(observer.wire)
        if module is not None:
            state.modes()
            with contextlib.suppress(Exception):
                own = data_in(module, request.ends) if is_program else []
                trained = trained_in(module, request.bound) if is_program else []
                roots = [
                    *shared_by(module, request.shared),
                    *trained,
                    *gradients_in(module),
                    *left_elsewhere(module, self._known),
                    *own,
                ]
                state.walk(roots, self._leaves.handed_out())
                if self._outside is not None:
                    state.outside(self._outside)
        return {
            "arguments": [],
            "results": [],
            "state": state.found,
            "gradients": {},
            "sharing": None,
            "passes": observer.events,
            "rng": worker_tensors.rng_state(),
        }

    def _finish(self) -> None:
        """End the run here. What it leaves is looked at here, too, whether or not its process goes on."""
        if self._last:
            self.end(None, stopped=True)
        self._observer.outcome = self._observer.outcome or self._outcome(None)
        raise _Enough

    def _execute(self, code: types.CodeType) -> None:
        request = self._request
        assert self._outside is not None
        if request.call is not None:
            worker_call.execute(request, request.call, code, self._leaves, self._observer, self._outside, self._known)
            return
        entry, text = request.entry, request.text
        if entry is not None:
            with tokenize.open(entry) as handle:
                text = handle.read()
            code = compile(text, entry, "exec", dont_inherit=True)
        run_program(entry or request.path, text, code, request.cwd)
