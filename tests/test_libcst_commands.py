"""Each codemod runs under LibCST's own command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradfix import registry

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
SAFE = [c for c in registry.builtin() if c.applicability.value != "displayonly"]


def _libcst(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "libcst.tool", "codemod", "-x", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def _name(codemod: str) -> str:
    return "gradfix.libcst_commands." + "".join(part.capitalize() for part in codemod.split("-"))


def test_the_command_line_of_libcst_fixes_files(tmp_path: Path) -> None:
    before = FIXTURES / "augmented_assignment" / "sigmoid.before.py"
    path = tmp_path / "model.py"
    path.write_bytes(before.read_bytes())
    untouched = tmp_path / "other.py"
    untouched.write_text("import torch\nx = torch.ones(3)  # as it is\n")
    done = _libcst(_name("augmented-assignment"), "--no-format", "--hide-progress", "-j", "1", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == before.with_name("sigmoid.after.py").read_bytes()
    assert untouched.read_text() == "import torch\nx = torch.ones(3)  # as it is\n"


def test_unsafe_fixes_are_made_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text("import torch\nx = torch.ones(3, requires_grad=True)\nz = x + 1\nz.backward()\n")
    arguments = (_name("non-scalar-backward"), "--no-format", "--hide-progress", "-j", "1", str(path))
    assert _libcst(*arguments).returncode == 0
    assert "z.backward()" in path.read_text()
    assert _libcst(arguments[0], "--unsafe-fixes", *arguments[1:]).returncode == 0
    assert "z.sum().backward()" in path.read_text()


@pytest.mark.parametrize("codemod", SAFE, ids=lambda codemod: codemod.name)
def test_every_codemod_has_a_command_that_does_what_it_does(codemod: registry.Codemod) -> None:
    from libcst.codemod import CodemodContext

    from gradfix import libcst_commands

    command = getattr(libcst_commands, _name(codemod.name).rpartition(".")[2])
    assert codemod.summary == command.DESCRIPTION
    befores = sorted((FIXTURES / codemod.name.replace("-", "_")).glob("*.before.py"))[:2]
    assert befores
    for path in befores:
        import libcst

        made = command(CodemodContext(filename=path.name), unsafe_fixes=True).transform_module(
            libcst.parse_module(path.read_bytes())
        )
        assert made.bytes == path.with_name(path.name.replace(".before.", ".after.")).read_bytes()
