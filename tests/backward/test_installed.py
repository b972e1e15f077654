"""Installed packages are imported once a server; what is the user's own never is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("unidiff")
pytest.importorskip("iniconfig")  # it, click and pluggy are imported in one test only, which finds them unknown
if sys.platform != "linux":
    pytest.skip("there is no server", allow_module_level=True)

from gradfix.backward.limits import Limits
from gradfix.backward.server import Server
from gradfix.backward.worker.requests import Request

SHOW = "import sys\nknown = 'unidiff' in sys.modules\nimport unidiff\nprint(known, unidiff.__file__)\n"
DRAW = "import torch, sys\nif 'click' not in sys.modules: torch.rand(3)\nimport click\nprint(torch.rand(1))\n"
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server(sys.executable, Limits(), trust=False)
    yield one
    one.close()


def shown(server: Server, folder: Path, text: str = SHOW, call: str | None = None) -> list[str]:
    """Whether a run found `unidiff` imported, and from where it has it."""
    path = str(folder / "program.py")
    return server.run(Request(path, text, str(folder), seconds=20.0, backwards=1, call=call)).output.split()


def test_what_a_run_imported_is_there_for_the_next(server: Server, tmp_path: Path) -> None:
    first, second = (shown(server, tmp_path, SHOW.replace("unidiff", "iniconfig")) for _ in range(2))
    assert first == second == ["True", first[1]]  # the first one was made again, so that both are alike


def test_what_an_import_draws_at_random_is_drawn_in_no_run_that_counts(server: Server, tmp_path: Path) -> None:
    assert shown(server, tmp_path, DRAW) == shown(server, tmp_path, DRAW)


def test_what_the_user_has_by_that_name_is_left_to_the_run(server: Server, tmp_path: Path) -> None:
    shown(server, tmp_path)
    for number, name in enumerate(("unidiff.py", "unidiff/__init__.py", "src/unidiff/__init__.py")):
        own = tmp_path / str(number) / name
        own.parent.mkdir(parents=True)
        own.write_text("")
        if name.startswith("src"):  # comes after what is installed, as it does for a program without the server
            assert shown(server, tmp_path / str(number))[0] == "False"
        else:
            assert shown(server, tmp_path / str(number)) == ["False", str(own)]
    assert shown(server, tmp_path)[0] == "True"


def test_what_is_installed_in_the_folder_itself_is_no_other(server: Server, tmp_path: Path) -> None:
    folder = Path(shown(server, tmp_path)[1]).parent.parent
    assert shown(server, folder) == shown(server, tmp_path)
    assert shown(server, folder)[0] == "True"


def test_the_package_of_the_file_is_imported_by_the_run(server: Server, tmp_path: Path) -> None:
    shown(server, tmp_path)
    folder = Path(shown(server, tmp_path)[1]).parent
    path, marked = folder / "errors.py", "print('marked')\n" + (folder / "errors.py").read_text()
    run = server.run(Request(str(path), marked, str(tmp_path), seconds=20.0, backwards=1, call="str()"))
    assert run.output.split() == ["marked"]
    assert shown(server, tmp_path)[0] == "True"


def test_what_is_imported_beside_a_thread_is_not_learned(server: Server, tmp_path: Path) -> None:
    first, second = (shown(server, tmp_path, THREAD + SHOW.replace("unidiff", "pluggy")) for _ in range(2))
    assert first == second == ["False", first[1]]
