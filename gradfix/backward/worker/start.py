"""Runs a user's code under guard, in the user's interpreter; started by `server.py` and never imported by it.

    python -S start.py CONFIG       CONFIG is a JSON object: see `server.py`

Two processes: this one, the keeper, runs in gradfix's own interpreter and waits; its child puts the walls up, becomes
the user's interpreter behind them, imports torch and serves. So not even that interpreter, which a project may name, is
started unguarded. With namespaces the child is process 1 of its own, so all that user code ever starts ends with it.
`-S` keeps the environment's own start-up files (`.pth`, `sitecustomize`) out until the walls stand.

Where a process with torch in it can't be forked safely, or not at all, the server starts over, "fresh": each run is
forked without torch and imports its own. Where nothing can be forked, `spawned.py` starts this file for each run, which
its CONFIG names, and there is neither keeper nor server.

Standard library and torch only; Python 3.9 or newer.
"""

from __future__ import annotations

import sys

_HERE = __file__.replace("\\", "/").rpartition("/")[0]
if sys.path[0].replace("\\", "/") == _HERE:
    del sys.path[0]  # the script's folder must not offer its modules to user code

import json  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import types  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import TYPE_CHECKING, NoReturn  # noqa: E402

if TYPE_CHECKING:
    from gradfix.backward.worker.messages import Answer, Config, Said
    from gradfix.backward.worker.server import Prepare, Runner, Server

OLDEST_PYTHON, OLDEST_TORCH = (3, 9), (2, 4)


def _lend_package() -> None:
    """Make this folder and the tracer importable under their own names: gradfix isn't installed in this interpreter."""
    here = os.path.abspath(_HERE)
    tracer = os.path.join(os.path.dirname(os.path.dirname(here)), "tracer")
    lent = (("gradfix", ""), ("gradfix.backward", ""), ("gradfix.backward.worker", here), ("gradfix.tracer", tracer))
    for name, path in lent:
        package = types.ModuleType(name)
        package.__path__ = [path] if path else []
        sys.modules[name] = package


def _forget_package() -> None:
    """User code that imports gradfix gets its own."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "gradfix"]:
        del sys.modules[name]


def _say(fd: int, message: Answer) -> None:
    os.write(fd, b"S" + json.dumps(message).encode() + b"\n")


def _keep(child: int, lifeline: int) -> int:
    """Wait until the server ends or the check lets go of its end of the lifeline; then nothing is left."""
    from gradfix.backward.worker.server import kill_descendants

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


def _enclose(config: Config, left: tuple[str, ...], sockets: tuple[str, ...]) -> None:
    """Put the walls up and become the user's interpreter behind them; returns only when that can't be."""
    from gradfix.backward.worker import walls as guard
    from gradfix.backward.worker.limits import Limits

    replies, limits = config["replies"], Limits(**config["limits"])
    walls = guard.enclose(config["scratch"], limits.scratch, left, sockets, tuple(config["without"]))
    guard.die_with_parent()
    guard.adopt_orphans()
    if not walls.files and not config["trust"]:
        _say(replies, {"refused": "no wall stands here; pass --trust to run it anyway"})
        return
    inside = {**config, "walls": walls.names, "own_pids": walls.own_pids}
    python = config["python"]
    try:
        os.execvp(python, [python, "-S", os.path.abspath(__file__), json.dumps(inside)])
    except OSError as error:
        _say(replies, {"refused": f"{python} can't be started ({error.strerror})"})


def _serve(config: Config) -> None:
    """Answer requests, each in a process forked from this one."""
    from gradfix.backward.worker.limits import Limits
    from gradfix.backward.worker.server import Server

    replies, scratch, limits = config["replies"], config["scratch"], Limits(**config["limits"])
    server = Server(config["requests"], replies, scratch=scratch, limits=limits, own_pids=config["own_pids"])
    os.environ.update(HOME=scratch, TMPDIR=scratch)
    try:
        (_serve_fresh if config.get("fresh") else _serve_warm)(server, config, replies)
    except ImportError as error:
        _say(replies, {"refused": str(error)})


def _serve_warm(server: Server, config: Config, replies: int) -> None:
    """With torch loaded here, so that no run has to; start over when no fork of that can be made."""
    from gradfix.backward.worker.requests import PROTOCOL
    from gradfix.backward.worker.server import CannotForkError

    run, prepare = _load()
    if _threads() > 1:
        _start_over(config)
    _say(replies, {"protocol": PROTOCOL, "walls": config["walls"], "fresh": False})
    try:
        server.serve(lambda: run, prepare)
    except CannotForkError:
        _say(replies, {"fresh": True})
        _start_over(config)


def _serve_fresh(server: Server, config: Config, replies: int) -> None:
    """Without torch here: each run loads its own."""
    from gradfix.backward.worker.requests import PROTOCOL
    from gradfix.backward.worker.server import CannotForkError

    _say(replies, {"protocol": PROTOCOL, "walls": config["walls"], "fresh": True})
    try:
        server.serve(lambda: _load()[0])
    except CannotForkError as error:
        _say(replies, {"refused": f"no process can be started for a run ({error})"})


def _too_old() -> str:
    version, oldest = (".".join(map(str, numbers[:2])) for numbers in (sys.version_info, OLDEST_PYTHON))
    return f"{sys.executable} is Python {version}, the check needs {oldest} or newer; pass --python"


def _load() -> tuple[Runner, Prepare]:
    """Import torch and what runs code under observation. Raises `ImportError` with a text for the user."""
    import site

    site.main()
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"{sys.executable} can't import torch ({error}); pass --python") from None
    version = str(torch.__version__)
    if tuple(map(int, version.split(".")[:2])) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise ImportError(f"{sys.executable} has torch {version}, the check needs {oldest} or newer; pass --python")
    from gradfix.backward.worker.run import prepare, run, warm

    warm()
    _forget_package()
    return run, prepare


def _threads() -> int:
    """Threads of this process: what another one holds when this one forks, the child never gets back."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def _start_over(config: Config) -> NoReturn:
    """Become a server without torch, behind the same walls."""
    python = config["python"]
    os.execvp(python, [python, "-S", os.path.abspath(__file__), json.dumps({**config, "fresh": True})])


def _run_alone(config: Config) -> int:
    """Make the one run that the configuration names, in this process; what it reports goes to a file."""
    fd = os.open(config["report"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)

    def report(message: Said) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(fd, data) :]

    try:
        if sys.version_info < OLDEST_PYTHON:
            raise ImportError(_too_old())
        from gradfix.backward.worker.limits import Limits, set_limits
        from gradfix.backward.worker.requests import numbered

        run, _ = _load()
    except Exception as error:  # torch may fail to load in any way
        report({"refused": str(error) or repr(error)})
        raise
    with open(config["request"], encoding="utf-8") as handle:
        _, request = numbered(json.load(handle))
    report({"begun": True})
    set_limits(Limits(**config["limits"]), request.seconds)
    run(request, config["place"], report)
    return 0


def main(argument: str) -> int:
    _lend_package()
    sys.dont_write_bytecode = True
    config: Config = json.loads(argument)
    if "request" in config:
        return _run_alone(config)
    if sys.version_info < OLDEST_PYTHON:
        _say(config["replies"], {"refused": _too_old()})
        return 1
    if "walls" in config:
        return _guarded(config, lambda: _serve(config))
    from gradfix.backward.worker import walls as guard

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


def _guarded(config: Config, work: Callable[[], None]) -> NoReturn:
    """Do the work and end at once; what goes wrong is said to the check."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        import traceback

        _say(config["replies"], {"refused": "the check's server failed: " + traceback.format_exc()})
    finally:
        os._exit(code)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
