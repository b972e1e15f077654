"""Runs a user's code under guard, in the user's interpreter; started by `server.py` and never imported by it.

    python -S worker.py CONFIG      CONFIG is a JSON object: see `server.py`

Two processes: this one, the keeper, runs in gradfix's own interpreter and waits; its child puts the walls up, becomes
the user's interpreter behind them, imports torch and serves. So not even that interpreter, which a project may name, is
started unguarded. With namespaces the child is process 1 of its own, so all that user code ever starts ends with it.
`-S` keeps the environment's own start-up files (`.pth`, `sitecustomize`) out until the walls stand.

Standard library and torch only; Python 3.10 or newer.
"""

from __future__ import annotations

import sys

_HERE = __file__.rpartition("/")[0]
if sys.path[0] == _HERE:
    del sys.path[0]  # the script's folder must not offer its modules to user code

import json  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402
import types  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import NoReturn  # noqa: E402

PROTOCOL = 2  # the same number is in server.py; the two refuse to talk otherwise


def _lend_package() -> None:
    """Make the sibling modules importable under their own names: gradfix isn't installed in this interpreter."""
    here = os.path.abspath(_HERE)
    tracer = os.path.join(os.path.dirname(here), "tracer")
    for name, path in (("gradfix", ""), ("gradfix.backward", here), ("gradfix.tracer", tracer)):
        package = types.ModuleType(name)
        package.__path__ = [path] if path else []
        sys.modules[name] = package


def _forget_package() -> None:
    """User code that imports gradfix gets its own."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "gradfix"]:
        del sys.modules[name]


def _say(fd: int, message: dict[str, object]) -> None:
    os.write(fd, b"S" + json.dumps(message).encode() + b"\n")


def _keep(child: int, lifeline: int) -> int:
    """Wait until the server ends or the check lets go of its end of the lifeline; then nothing is left."""
    from gradfix.backward.worker_server import kill_descendants

    poll = select.poll()
    poll.register(lifeline, select.POLLIN | select.POLLHUP)
    while not poll.poll(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            break
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    kill_descendants()
    return 0


def _enclose(config: dict[str, object], left: tuple[str, ...], sockets: tuple[str, ...]) -> None:
    """Put the walls up and become the user's interpreter behind them; returns only when that can't be."""
    from gradfix.backward import worker_walls as guard

    replies, limits, without = int(str(config["replies"])), config["limits"], config["without"]
    assert isinstance(limits, dict)
    assert isinstance(without, list)
    walls = guard.enclose(str(config["scratch"]), int(limits["scratch"]), left, sockets, tuple(without))
    guard.die_with_parent()
    guard.adopt_orphans()
    if not walls.files and not config["trust"]:
        _say(replies, {"refused": "no wall stands here; pass --trust to run it anyway"})
        return
    inside = {**config, "walls": walls.names, "own_pids": walls.own_pids}
    python = str(config["python"])
    try:
        os.execvp(python, [python, "-S", os.path.abspath(__file__), json.dumps(inside)])
    except OSError as error:
        _say(replies, {"refused": f"{python} can't be started ({error.strerror})"})


def _serve(config: dict[str, object]) -> None:
    from gradfix.backward.worker_server import Server

    replies, scratch, limits = int(str(config["replies"])), str(config["scratch"]), config["limits"]
    assert isinstance(limits, dict)
    own_pids = bool(config["own_pids"])
    server = Server(int(str(config["requests"])), replies, scratch=scratch, limits=limits, own_pids=own_pids)
    os.environ.update(HOME=scratch, TMPDIR=scratch)
    started = time.monotonic()
    try:
        import site

        site.main()
        import torch

        from gradfix.backward.worker_run import prepare, run, warm
    except ImportError as error:
        _say(replies, {"refused": f"{sys.executable} can't import torch ({error}); pass --python"})
        return
    warm()
    hello = {"protocol": PROTOCOL, "walls": config["walls"], "python": sys.executable, "torch": str(torch.__version__)}
    _say(replies, {**hello, "seconds": time.monotonic() - started})
    _forget_package()
    server.serve(run, prepare)


def main(argument: str) -> int:
    _lend_package()
    sys.dont_write_bytecode = True
    config = json.loads(argument)
    if "walls" in config:
        return _guarded(config, lambda: _serve(config))
    from gradfix.backward import worker_walls as guard

    sockets = guard.named_sockets()
    left: tuple[str, ...] = ()
    if "namespaces" not in config["without"]:
        left = guard.unshare()
    guard.adopt_orphans()
    child = os.fork()
    if child:
        for fd in (config["requests"], config["replies"]):
            os.close(fd)
        return _keep(child, config["lifeline"])
    os.close(config["lifeline"])
    return _guarded(config, lambda: _enclose(config, left, sockets))


def _guarded(config: dict[str, object], work: Callable[[], None]) -> NoReturn:
    """Do the work and end at once; what goes wrong is said to the check."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        import traceback

        _say(int(str(config["replies"])), {"refused": "the check's server failed: " + traceback.format_exc()})
    finally:
        os._exit(code)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
