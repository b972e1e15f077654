"""The command line as a user meets it: what is on stdout, on stderr, on disk, and the exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unidiff import PatchSet

from gradfix.command_line import cli, terminal
from gradfix.proof.plan import Plan

BROKEN = "import torch\n\nx = torch.ones(3, requires_grad=True)\ny = x.exp()\ny[0] = 10\ny.sum().backward()\n"
PLAIN = "def f(x):\n    return x + 1\n"
FINE = "import torch\n\nx = torch.ones(3, requires_grad=True)\n(x * 2).sum().backward()\n"
HARMLESS = BROKEN.replace("x.exp()", "x + 2")
NON_SCALAR = "import torch\n\nx = torch.ones(3, requires_grad=True)\nz = x + 1\nz.backward()\n"


class Done:
    """One command line that has run."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.raw, self.out, self.err = code, out, out.decode(errors="replace"), err.decode()


class Cli:
    """Runs command lines in a folder, in this process."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[bytes], patch: pytest.MonkeyPatch) -> None:
        self.folder, self._capture, self._patch = folder, capture, patch

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Done:
        if stdin is not None:
            self._patch.setattr(terminal, "read_stdin", lambda: stdin)
            self._patch.setattr("gradfix.command_line.session.read_stdin", lambda: stdin)
        code = cli.run(list(arguments))
        return Done(code, *self._capture.readouterr())

    def write(self, name: str, text: str | bytes) -> Path:
        """A file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


@pytest.fixture
def gradfix(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Cli(tmp_path, capfdbinary, monkeypatch)


def test_check_reports_on_stdout_and_sums_up_on_stderr(gradfix: Cli) -> None:
    gradfix.write("a.py", BROKEN)
    gradfix.write("b.py", FINE)
    done = gradfix("check", ".")
    assert done.code == 1
    assert done.out.startswith("error[GF101]: `y[0] = 10` overwrites `y`")
    assert " --> a.py:5:1\n" in done.out
    assert done.err == "Found 1 finding.\n[*] 1 fixable with `gradfix apply`.\n"
    assert gradfix("check", "b.py").code == 0


def test_check_changes_and_runs_nothing(gradfix: Cli) -> None:
    marker = gradfix.folder / "ran"
    path = gradfix.write("a.py", BROKEN + f"open({str(marker)!r}, 'w')\n")
    before = path.read_bytes()
    for command in (["check"], ["diff"], ["apply", "--diff", "--no-verify"]):
        gradfix(*command, "a.py")
    gradfix("quickfix", "a.py:5")
    assert path.read_bytes() == before
    assert not marker.exists()


def test_a_patch_on_stdout_is_pure_and_is_what_apply_writes(gradfix: Cli) -> None:
    path = gradfix.write("deep/a.py", BROKEN)
    gradfix.write("b.py", NON_SCALAR)
    done = gradfix("diff", ".")
    assert done.code == 1
    assert done.out.startswith("--- a/deep/a.py\n+++ b/deep/a.py\n@@ ")
    assert len(PatchSet(done.out)) == 1
    assert "error[GF101]" in done.err
    assert "error[GF401]" in done.err
    (gradfix.folder / "p.patch").write_bytes(done.raw)
    subprocess.run(["git", "apply", "p.patch"], cwd=gradfix.folder, check=True)
    patched = path.read_bytes()
    assert patched != BROKEN.encode()
    path.write_bytes(BROKEN.encode())
    assert gradfix("apply", "--no-verify", "-q", "deep").code == 0
    assert path.read_bytes() == patched


def test_a_patch_names_files_from_the_current_folder(gradfix: Cli) -> None:
    path = gradfix.write("a.py", BROKEN)
    patch = gradfix("diff", "a.py").out
    assert gradfix("diff", "./a.py").out == gradfix("diff", str(path)).out == patch


def test_apply_twice_changes_nothing_the_second_time(gradfix: Cli) -> None:
    path = gradfix.write("a.py", BROKEN)
    assert gradfix("apply", "--no-verify", ".").code == 0
    once = path.read_bytes(), path.stat().st_mtime_ns
    done = gradfix("apply", "--no-verify", ".")
    assert done.code == 0
    assert done.err == "All checks passed!\n"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == once


def test_apply_exits_with_1_only_for_what_is_left(gradfix: Cli) -> None:
    gradfix.write("a.py", BROKEN)
    gradfix.write("b.py", NON_SCALAR)
    done = gradfix("apply", "--no-verify", ".")
    assert done.code == 1
    assert done.err == ("Fixed 1 finding in 1 file.\n1 finding left (1 unsafe fix available with `--unsafe-fixes`).\n")
    assert gradfix("apply", "--no-verify", "--exit-zero", ".").code == 0
    assert gradfix("apply", "--no-verify", "--unsafe-fixes", ".").code == 0
    assert "z.sum().backward()" in (gradfix.folder / "b.py").read_text()
    gradfix.write("a.py", BROKEN)
    assert gradfix("apply", "--no-verify", "--exit-non-zero-on-fix", ".").code == 1


def test_severity_and_fail_on(gradfix: Cli) -> None:
    gradfix.write("a.py", HARMLESS)
    assert gradfix("check", ".").out == ""
    done = gradfix("check", "--severity", "info", ".")
    assert done.code == 1
    assert done.out.startswith("info[GF101]")
    assert gradfix("check", "--severity", "info", "--fail-on", "warning", ".").code == 0


@pytest.mark.parametrize("command", [["check"], ["diff"], ["apply", "--no-verify"]])
def test_verbose_tells_what_is_left_out_and_why(gradfix: Cli, command: list[str]) -> None:
    gradfix.write("a.py", HARMLESS)
    gradfix.write("b.py", BROKEN.replace("y[0] = 10", "y[0] = 10  # gradfix: ignore[GF1]"))
    gradfix.write("c.py", "import torch\nx.backward(\n")
    assert "left out" not in gradfix(*command, ".").err
    told = [line for line in gradfix(*command, "--verbose", ".").err.splitlines() if "left out" in line]
    assert len(told) == 2
    assert told[0].startswith("a.py:5:1: GF101 left out (info): ")
    assert told[1].startswith("b.py:5:1: GF101 left out (`# gradfix: ignore[GF1]`, line 5): `y[0] = 10` overwrites")


def test_a_harmless_write_is_not_cloned_over_and_over(gradfix: Cli) -> None:
    gradfix.write("a.py", "import torch\n\n\ndef f(x: torch.Tensor):\n    y = x + 2\n    y[0] = 10\n    return y\n")
    for form in ("functional", "clone"):
        done = gradfix("diff", "--severity", "info", "--form", form, ".")
        assert (done.code, done.out) == (1, "")
        assert "= no fix: the write is harmless" in done.err


def test_select_and_ignore(gradfix: Cli) -> None:
    gradfix.write("a.py", BROKEN)
    gradfix.write("b.py", NON_SCALAR)
    assert "GF401" not in gradfix("check", "--select", "GF1", ".").out
    assert "GF101" not in gradfix("check", "--ignore", "index-assignment,GF2", ".").out
    wrong = gradfix("check", "--select", "GF999", ".")
    assert wrong.code == 2
    assert wrong.err.startswith("error: no codemod is called 'GF999'")


def test_concise_and_json(gradfix: Cli) -> None:
    gradfix.write("a.py", BROKEN)
    assert gradfix("check", "--output-format", "concise", ".").out.startswith("a.py:5:1: GF101 [*] `y[0] = 10` over")
    gradfix.write("c.py", "import torch\ndef f(:\n")
    done = gradfix("check", "--output-format", "json", ".")
    found, problem = json.loads(done.out)
    assert found["code"] == "GF101"
    assert found["fix"]["applicability"] == "safe"
    assert found["verification"] is None
    assert problem["code"] is None
    assert done.code == 2


def test_the_clone_form(gradfix: Cli) -> None:
    gradfix.write("a.py", BROKEN)
    assert "+y = x.exp().clone()\n" in gradfix("diff", "--form", "clone", ".").out
    assert "clone()" not in gradfix("diff", ".").out


def test_stdin_is_a_filter(gradfix: Cli) -> None:
    latin = b"# -*- coding: latin-1 -*-\r\n# caf\xe9\r\n" + BROKEN.replace("\n", "\r\n").encode()
    done = gradfix("apply", "--no-verify", "-", "--stdin-filename", "a.py", stdin=latin)
    assert done.code == 0
    assert done.raw.startswith(b"# -*- coding: latin-1 -*-\r\n# caf\xe9\r\nimport torch\r\n")
    assert b"\r\ny[0] = 10\r\n" not in done.raw
    assert "error[GF101]" in done.err
    unchanged = gradfix("apply", "-", stdin=FINE.encode())
    assert (unchanged.code, unchanged.raw) == (0, FINE.encode())
    broken = gradfix("apply", "-", stdin=b"def f(:\n")
    assert (broken.code, broken.raw) == (2, b"")
    assert gradfix("check", "-", "--stdin-filename", "a.py", stdin=BROKEN.encode()).out.count("--> a.py:5:1") == 1
    patch = gradfix("diff", "-", "--stdin-filename", "src/a.py", stdin=BROKEN.encode())
    assert patch.out.startswith("--- a/src/a.py\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:\n", "bad.py:1: syntax error"),
        ("import torch\nprint 'hi'\n", "bad.py:2: syntax error: Missing parentheses"),
        (b"\x7fELF\x00\x01\xff\xfe", "bad.py: a binary file"),
        (b"x = '\xe9'\n", "bad.py:1: not valid utf-8"),
        ("x = " + "[" * 1000 + "]" * 1000 + "\n", "bad.py:1: nested too deeply"),
        ("import torch\ny = x" + ".t()" * 20_000 + "\ny[0] = 1\n", "bad.py: nested too deeply"),
    ],
)
def test_a_bad_file_is_named_and_the_others_are_done(gradfix: Cli, text: str | bytes, says: str) -> None:
    bad = gradfix.write("bad.py", text)
    before = bad.read_bytes()
    good = gradfix.write("good.py", BROKEN)
    done = gradfix("apply", "--no-verify", ".")
    assert done.code == 2
    assert f"error: {says}" in done.err
    assert "1 of 2 files could not be done." in done.err
    assert good.read_text() != BROKEN
    assert bad.read_bytes() == before


def test_other_bad_paths(gradfix: Cli) -> None:
    gradfix.write("a.py", BROKEN)
    gradfix.write("empty.py", "")
    os.symlink("loop.py", gradfix.folder / "loop.py")
    gradfix.write("latin.py", b"# coding: latin-1\n# \xe9\n" + BROKEN.encode())
    done = gradfix("apply", "--no-verify", "gone", "loop.py", "empty.py", "latin.py", "a.py")
    assert done.code == 2
    assert "error: gone: " in done.err
    assert "error: loop.py: " in done.err
    assert "2 of 5 files could not be done." in done.err
    assert (gradfix.folder / "latin.py").read_bytes().startswith(b"# coding: latin-1\n# \xe9\nimport torch\n")
    assert (gradfix.folder / "a.py").read_text() != BROKEN


def test_a_file_changed_meanwhile_is_not_overwritten(gradfix: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradfix.command_line import run

    path = gradfix.write("a.py", BROKEN)
    gradfix.write("b.py", BROKEN)
    write = run.write

    def meddle(*given: object) -> object:
        path.write_text("mine = 1\n")
        return write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "write", meddle)
    done = gradfix("apply", "--no-verify", ".")
    assert done.code == 2
    assert "a.py: changed by somebody else" in done.err
    assert path.read_text() == "mine = 1\n"
    assert (gradfix.folder / "b.py").read_text() != BROKEN


def test_a_bug_in_one_file_does_not_stop_the_others(gradfix: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradfix.engine import engine

    gradfix.write("a.py", "import torch\nhere = 1\n")
    gradfix.write("b.py", BROKEN)
    check = engine.check_source

    def trip(source: object, *given: object) -> object:
        if "here" in source.text:  # type: ignore[attr-defined]
            raise AssertionError("tripped")
        return check(source, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "check_source", trip)
    monkeypatch.setattr("gradfix.engine.prefilter.worth_parsing", lambda *given: True)
    done = gradfix("check", "-v", ".")
    assert done.code == 2
    assert "error: a.py: internal error, please report it: AssertionError: tripped" in done.err
    assert "Traceback" in done.err
    assert "error[GF101]" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--nonsense"],
        ["apply"],
        ["apply", "--python", "/no/such/python", "a.py"],
        ["nonsense"],
        ["apply", "--require-verified", "--no-verify", "."],
        ["quickfix", "a.py"],
    ]
    + [
        ["rule"],
        ["rule", "GF999"],
        ["quickfix", "--nonsense", "a.py:1"],
        ["check", "--isolated", "--config", "x.toml"],
        ["check", "--config", "gone.toml"],
    ],
)
def test_usage_errors_exit_with_2(gradfix: Cli, arguments: list[str]) -> None:
    gradfix.write("a.py", BROKEN)
    done = gradfix(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "rror: " in done.err


def test_the_configuration_is_found_and_overruled(gradfix: Cli) -> None:
    gradfix.write("a.py", HARMLESS)
    gradfix.write("pyproject.toml", "[tool.gradfix]\nseverity = 'info'\n")
    assert gradfix("check", ".").code == 1
    assert gradfix("check", "--isolated", ".").code == 0
    assert gradfix("check", "--severity", "error", ".").code == 0
    gradfix.write("other.toml", "unknown = 1\n")
    wrong = gradfix("check", "--config", "other.toml", ".")
    assert wrong.code == 2
    assert "unknown" in wrong.err


MINE = '''"""Mine.

## What it does
Nothing.
"""
from pathlib import Path

from gradfix.codemod import codemod
from gradfix.findings import Applicability

Path(__file__).with_name("loaded").touch()


@codemod("MY101", "mine", since="0.1", applicability=Applicability.SAFE, symptom="x", needles=("x",))
def mine(source, facts):
    return iter(())
'''


def test_codemods_of_the_project_need_consent(gradfix: Cli) -> None:
    gradfix.write("a.py", FINE)
    gradfix.write("rules/mine.py", MINE)
    gradfix.write("gradfix.toml", 'codemods = ["rules"]\n')
    loaded = gradfix.folder / "rules" / "loaded"
    done = gradfix("check", ".")
    assert "are not loaded, since that runs their code" in done.err
    assert not loaded.exists()
    for consent in (["--allow-config-codemods"], ["--codemods", "rules"]):
        assert "not loaded" not in gradfix("check", *consent, ".").err
        assert loaded.exists()
        loaded.unlink()
    assert gradfix("check", "--codemods", "rules", "--select", "MY101", ".").code == 0
    assert gradfix("rule", "MY101", "--codemods", "rules").out.startswith("# mine (MY101)\n")


def test_colour_is_asked_for(gradfix: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    gradfix.write("a.py", BROKEN)
    assert "\x1b[" not in gradfix("check", ".").out
    assert "\x1b[" in gradfix("check", "--color", "always", ".").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in gradfix("check", ".").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in gradfix("check", ".").out


def test_quickfix_gives_the_edits_that_apply_would_write(gradfix: Cli) -> None:
    path = gradfix.write("a.py", "s = '😀'  # ü\n" + BROKEN)
    done = gradfix("quickfix", "a.py:6")
    assert (done.code, done.err) == (0, "")
    (finding,) = json.loads(done.out)["findings"]
    assert [fix["applicability"] for fix in finding["fixes"]] == ["safe", "safe"]
    text = path.read_text()
    for edit in reversed(finding["fixes"][0]["edits"]):
        start, end = edit["range"]["bytes"]
        text = (text.encode()[:start] + edit["new_text"].encode() + text.encode()[end:]).decode()
    gradfix("apply", "--no-verify", "a.py")
    assert text == path.read_text()


def test_quickfix_as_patch_from_stdin_and_where_nothing_is(gradfix: Cli) -> None:
    gradfix.write("a.py", BROKEN)
    patch = gradfix("quickfix", "a.py:5:1", "--output-format", "diff").out
    assert patch == gradfix("diff", "a.py").out
    assert (
        gradfix("quickfix", "-:5", "--stdin-filename", "a.py", "--output-format", "diff", stdin=BROKEN.encode()).out
        == patch
    )
    assert json.loads(gradfix("quickfix", "a.py:1").out)["findings"] == []
    assert gradfix("quickfix", "a.py:1", "--output-format", "diff").out == ""
    gone = gradfix("quickfix", "gone.py:1")
    assert gone.code == 2
    assert "gone.py" in gone.err


def test_a_configured_interpreter_that_is_not_there_is_an_error(gradfix: Cli) -> None:
    path = gradfix.write("a.py", BROKEN)
    gradfix.write("gradfix.toml", 'python = "no/such/python"\n')
    done = gradfix("apply", "a.py")
    assert (done.code, path.read_text()) == (2, BROKEN)
    assert "gradfix.toml: `python`: no such program: " in done.err
    assert gradfix("apply", "--no-verify", "a.py").code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_json_takes_names_that_are_no_text(gradfix: Cli) -> None:
    name = os.fsdecode(b"bad\xff.py")
    gradfix.write(name, BROKEN)
    done = gradfix("check", "--output-format", "json", name)
    assert done.code == 1, done.err
    assert os.path.basename(json.loads(done.out)[0]["filename"]) == name
    assert json.loads(gradfix("quickfix", f"{name}:5").out)["filename"] == name


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that is in use")
def test_a_current_folder_that_is_gone_is_no_bug(gradfix: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    path, gone = gradfix.write("a.py", BROKEN), gradfix.folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = gradfix("check", str(path))
    assert (done.code, done.err) == (2, "error: the current folder can't be used: No such file or directory\n")


def test_rule_prints_pages(gradfix: Cli) -> None:
    done = gradfix("rule", "GF101")
    assert done.out.startswith("# index-assignment (GF101)\n")
    assert gradfix("rule", "index-assignment").out == done.out
    (row,) = json.loads(gradfix("rule", "gf101", "--output-format", "json").out)
    assert row["code"] == "GF101"
    assert "did you mean GF10" in gradfix("rule", "GF10x").err


def test_interrupted_apply_writes_nothing(gradfix: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradfix.command_line import run

    path = gradfix.write("a.py", BROKEN)

    def interrupt(*given: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "unproven", interrupt)
    done = gradfix("apply", "--no-verify", ".")
    assert (done.code, path.read_text()) == (130, BROKEN)
    assert done.err.strip() == "interrupted: nothing was written"


class NoPool:
    """Stands for the checkers of `apply`, of which none is started."""

    walls, fresh, kept = ("a wall",), False, None

    def __enter__(self) -> NoPool:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def test_what_is_said_after_the_check_does_not_share_a_line_with_its_progress(
    gradfix: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradfix.command_line import run

    def prove_all(
        rules: object, planned: list[Plan], pool: NoPool, begun: Callable[[str], None], *, proven: bool
    ) -> object:
        for one in planned:
            begun(one.loaded.path)
            yield run.unproven(one)

    monkeypatch.setattr(run, "pool", lambda *given, **limits: NoPool())
    monkeypatch.setattr(run, "prove_all", prove_all)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    gradfix.write("a.py", BROKEN)
    done = gradfix("apply", "--diff", "a.py")
    assert "1/1 a.py\r\x1b[KThe backward check ran behind: a wall." in done.err


LOADED = """
import sys
from gradfix.command_line import cli
code = cli.run({arguments!r})
heavy = (
    "libcst", "torch", "unidiff", "gradfix.analysis.analyse", "gradfix.backward", "gradfix.proof.proof",
    "gradfix.rewrite.cures", "gradfix.rewrite.writes.calls",
)
print("loaded", code, *[name for name in heavy if name in sys.modules], file=sys.stderr)
"""


REWRITING = ["gradfix.analysis.analyse", "libcst", "gradfix.rewrite.cures", "gradfix.rewrite.writes.calls"]


@pytest.mark.parametrize(
    ("arguments", "code", "allowed"),
    [
        (["--version"], 0, []),
        (["--help"], 0, []),
        (["check", "--help"], 0, []),
        (["check", "plain.py"], 0, []),
        (["apply", "--diff", "plain.py"], 0, []),
        (["check", "fine.py"], 0, ["gradfix.analysis.analyse"]),
        (["apply", "--diff", "fine.py"], 0, ["gradfix.analysis.analyse"]),
        (["check", "broken.py"], 1, [*REWRITING, "unidiff"]),
        (["diff", "broken.py"], 1, [*REWRITING, "unidiff"]),
        (["quickfix", "broken.py:5"], 0, REWRITING),
        (["rule", "GF101"], 0, []),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(
    gradfix: Cli, arguments: list[str], code: int, allowed: list[str]
) -> None:
    gradfix.write("plain.py", PLAIN)
    gradfix.write("fine.py", FINE)
    gradfix.write("broken.py", BROKEN)
    root = Path(cli.__file__).resolve().parents[2]
    script = f"import sys; sys.path.insert(0, {str(root)!r})\n" + LOADED.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=gradfix.folder, check=True
    )
    report = done.stderr.splitlines()[-1].split()
    assert report[:2] == ["loaded", str(code)], done.stderr
    assert set(report[2:]) <= set(allowed)


def test_a_reader_that_leaves_is_no_bug(gradfix: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise BrokenPipeError

    gradfix.write("a.py", BROKEN)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Closed(), 1), write_through=True))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO()))
    assert cli.run(["check", "."]) == 141
