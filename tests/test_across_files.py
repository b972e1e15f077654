"""Facts across files: each folder of `fixtures/across_files/` is run, and checked file by file.

`program.py` says in its first line how its run ends: `# raises: MESSAGE` or `# runs`. Lines marked `# <- error` and
`# <- warning`, in any of its files, are all that may be found from warning on. In folders named `cut_…` the graph ends
in another file, where it has to be mended; in those named `held_…` a method of another file writes what its object
holds, which is mended there, too; in those named `step_…` an optimizer steps too early, in those named `carried_…` a
graph goes from one round of a loop to the next, in those named `told_…` a backward in another file fails: which
nothing mends here.
"""

from __future__ import annotations

import json
import pickle
import re
import runpy
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from gradfix import edits, registry
from gradfix.analysis.analyse import summarise
from gradfix.analysis.imports import Imports
from gradfix.analysis.summaries import ModuleSummary
from gradfix.engine import engine
from gradfix.findings import Applicability, Finding, RefusalKind, Severity
from gradfix.project import others
from gradfix.project.files import read
from gradfix.project.imports import stands_in
from gradfix.project.others import Project
from gradfix.source import Source

torch = pytest.importorskip("torch")

CODEMODS = registry.builtin()
FOLDER = Path(__file__).parent / "fixtures" / "across_files"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
CUTS = [path for path in CASES if path.name.startswith("cut_")]
STEPS = [path for path in CASES if path.name.startswith(("step_", "carried_", "told_"))]
HELD = [path for path in CASES if path.name.startswith("held_")]
# A summary that is written down says of networks alone that they are some.
BY_CLASS = {"losses_of_another_file_share_a_graph"}
HAZARDS = [path for path in CASES if path not in (*CUTS, *HELD, *STEPS) and not path.name.startswith("keep_")]


def findings(file: Path, folder: Path) -> tuple[Source, tuple[Finding, ...]]:
    project = Project(lambda path: read(path)[0], str(folder))
    source = read(file)[0]
    return source, engine.check_source(source, CODEMODS, imports=project.imports(str(file)))


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What the program of a folder raises."""
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    torch.manual_seed(0)
    try:
        runpy.run_path(str(folder / "program.py"), run_name="__main__")
    except (AttributeError, RuntimeError) as error:
        return str(error)
    finally:
        for name in set(sys.modules) - before:
            if str(folder) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]
    return None


def test_most_of_them_are_to_be_left_alone() -> None:
    hazards = len(HAZARDS) + len(CUTS) + len(HELD) + len(STEPS)
    assert len(CASES) - hazards > hazards


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_what_is_found_is_what_happens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = (folder / "program.py").read_text(encoding="utf-8").splitlines()[0]
    message = run(folder, monkeypatch)
    if first == "# runs":
        assert message is None
    else:
        assert message is not None
        assert re.search(first.removeprefix("# raises: "), message)
    for file in sorted(folder.rglob("*.py")):
        lines = file.read_text(encoding="utf-8").splitlines()
        expected = {(i, m[1]) for i, line in enumerate(lines, 1) if (m := re.search(r"# <- (error|warning)$", line))}
        source, found = findings(file, folder)
        loud = [finding for finding in found if finding.severity is not Severity.INFO]
        assert {(source.position(f.span.start).line, f.severity.value) for f in loud} == expected, file


@pytest.mark.parametrize("folder", HAZARDS, ids=lambda folder: folder.name)
def test_the_fix_of_the_calling_file_cures_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in folder.rglob("*.py"):
        copy = tmp_path / file.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    source = read(tmp_path / "program.py")[0]
    project = Project(lambda path: read(path)[0], str(tmp_path))
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    fixed = engine.fix(source, CODEMODS, policy, imports=project.imports(source.path))
    assert fixed.applied, [result.refusal for result in fixed.left]
    (tmp_path / "program.py").write_text(edits.apply(source.text, fixed.edits), encoding="utf-8")
    assert run(tmp_path, monkeypatch) is None


@pytest.mark.parametrize("folder", HELD, ids=lambda folder: folder.name)
def test_what_an_object_holds_is_to_be_mended_in_the_file_of_its_class(folder: Path) -> None:
    _, found = findings(folder / "program.py", folder)
    refused = [finding for finding in found if finding.refusal and finding.refusal.kind is RefusalKind.ELSEWHERE]
    assert refused
    for finding in refused:
        assert not finding.rewrites
        place = re.search(r"`(?P<text>[^`]+)` in (?P<file>\S+), line (?P<line>\d+)", finding.message)
        assert place is not None
        lines = (folder / place["file"]).read_text(encoding="utf-8").splitlines()
        assert place["text"] in lines[int(place["line"]) - 1]


@pytest.mark.parametrize("folder", CUTS, ids=lambda folder: folder.name)
def test_a_cut_is_to_be_mended_in_its_own_file(folder: Path) -> None:
    _, found = findings(folder / "program.py", folder)
    loud = [finding for finding in found if finding.severity is not Severity.INFO]
    for finding in loud:
        assert not finding.rewrites
        assert finding.refusal is not None
        assert finding.refusal.kind is RefusalKind.ELSEWHERE
        place = re.search(r"`(?P<text>[^`]+)` in (?P<file>\S+), line (?P<line>\d+)", finding.message)
        assert place is not None
        lines = (folder / place["file"]).read_text(encoding="utf-8").splitlines()
        assert place["text"] in lines[int(place["line"]) - 1]
    assert len({finding.identity for finding in loud}) == len(loud)


def test_the_message_names_the_cut_in_the_other_file() -> None:
    folder = FOLDER / "cut_in_a_third_file"
    _, (finding, *_) = findings(folder / "program.py", folder)
    assert finding.code == "GF302"
    assert finding.message == (
        "`energy(w * 2)` makes a Python number, which has no graph "
        "(`x.pow(2).sum().item()` in tools/lowest.py, line 2): backward fails, the loss (line 6) has no graph"
    )


def test_a_list_whose_items_are_written_is_not_cloned(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def fill_all(xs):\n    for x in xs:\n        x.add_(1)\n")
    program = "import torch\nfrom helpers import fill_all\n\n\ndef f(x):\n    ys = list(x.exp().unbind())\n"
    (tmp_path / "program.py").write_text(f"{program}    fill_all(ys)\n    return sum(ys)\n")
    source = read(tmp_path / "program.py")[0]
    imports = Project(lambda path: read(path)[0], str(tmp_path)).imports(source.path)
    policy = engine.Policy(applicability=Applicability.UNSAFE)
    fixed = engine.fix(source, CODEMODS, policy, imports=imports)
    assert not fixed.applied
    assert [result.refusal.kind for result in fixed.left if result.refusal] == [RefusalKind.NOT_ASSIGNABLE]


def test_the_message_names_the_other_file() -> None:
    folder = FOLDER / "helper_writes_what_exp_saved"
    _, (finding, *_) = findings(folder / "program.py", folder)
    assert finding.code == "GF103"
    assert finding.message == (
        "`add_noise_(h)` overwrites `h` (`x += torch.randn_like(x)` in helpers.py, line 5), "
        "which `exp` (line 6) saved for backward"
    )


def test_modules_that_have_no_such_name_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that takes over the names of many modules is asked for one of them."""
    package = tmp_path / "pkg"
    package.mkdir()
    stars = "".join(f"from .m{i} import *\n" for i in range(20))
    (package / "__init__.py").write_text(stars)
    for i in range(20):
        (package / f"m{i}.py").write_text("def other(x):\n    return refill(x)\n\n\ndef refill_all(x):\n    return x\n")
    (package / "m7.py").write_text("def ﬁll(x):\n    x.add_(1)\n")  # Python reads the ligature as two letters
    (tmp_path / "program.py").write_text(
        "import torch\nfrom pkg import fill\n\n\ndef f(x):\n    h = x.exp()\n    fill(h)\n    return h\n"
    )
    parsed: list[str] = []
    parse = others.syntax.parse
    monkeypatch.setattr(others.syntax, "parse", lambda source: parsed.append(Path(source.path).stem) or parse(source))
    _, found = findings(tmp_path / "program.py", tmp_path)
    assert [finding.code for finding in found] == ["GF103"]
    assert sorted(set(parsed)) == ["__init__", "m7"]


def summary(folder: Path, name: str) -> ModuleSummary:
    return summarise(read(folder / f"{name}.py")[0], name, {})


@pytest.mark.parametrize("name", ["a", "ab", "_", "é", "e\u0301", "Å"])
def test_a_name_stands_in_a_text_where_a_pattern_finds_it(name: str) -> None:
    for text in (
        "",
        name,
        f"{name}b {name}",
        f"b{name}",
        f"x.{name}()",
        f"1{name}",
        f"{name}{name}",
        f"-{name}-",
        "b ab_",
    ):
        assert stands_in(name, text) is (re.search(rf"\b{name}\b", text) is not None), text


def test_summaries_are_values() -> None:
    folder = FOLDER / "flag_makes_the_write"
    made = summary(folder, "helpers")
    assert made == summary(folder, "helpers")
    assert pickle.loads(pickle.dumps(made)) == made
    assert pickle.loads(pickle.dumps(made)).digest == made.digest
    assert json.loads(json.dumps(asdict(made)))["name"] == "helpers"
    other = summarise(Source.from_text("helpers.py", "def swish(x, inplace=False):\n    return x\n"), "helpers", {})
    assert other.digest != made.digest
    assert summarise(Source.from_text("a.py", "def f(:\n"), "a", {}) == ModuleSummary("a")


@pytest.mark.parametrize("folder", [f for f in CASES if f.name not in BY_CLASS], ids=lambda folder: folder.name)
def test_summaries_know_what_the_project_knows(folder: Path) -> None:
    """Each file summarised on its own, in rounds until nothing changes, and nothing read while one is checked."""
    names = {
        ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): path
        for path in folder.rglob("*.py")
    }
    known: dict[str, ModuleSummary] = {}
    for _ in range(4):
        known = {name: summarise(read(path)[0], name, known) for name, path in names.items()}
    source = read(folder / "program.py")[0]
    alone = engine.check_source(source, CODEMODS, imports=Imports(known, "program"))
    _, opened = findings(folder / "program.py", folder)
    loud = [
        [(f.code, f.span, f.severity) for f in found if f.severity is not Severity.INFO] for found in (alone, opened)
    ]
    assert loud[0] == loud[1]


def test_installed_packages_are_not_read(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    for name in ("mine", "theirs"):
        (installed / name).mkdir(parents=True)
        (installed / name / "__init__.py").write_text("def fill(x):\n    x[0] = 1\n", encoding="utf-8")
    project = Project(lambda path: read(path)[0], str(tmp_path))
    imports = project.imports(str(installed / "mine" / "program.py"))
    assert imports.find("mine.fill") is not None
    assert imports.find("theirs.fill") is None
    assert imports.find("torch.fill") is None


def test_modules_that_star_import_each_other_are_asked_once() -> None:
    """Ten in circles: every way through them would be 9 ** 10 questions."""

    class Counted(dict[str, ModuleSummary]):
        asked = 0

        def get(self, name: str, default: object = None) -> ModuleSummary | None:  # type: ignore[override]
            self.asked += 1
            return super().get(name)

    names = [f"m{i}" for i in range(10)]
    modules = Counted(
        {name: ModuleSummary(name, stars=tuple(other for other in names if other != name)) for name in names}
    )
    modules["m9"] = summarise(Source.from_text("m9.py", "def swish(x):\n    x[0] = 1\n    return x\n"), "m9", {})
    imports = Imports(modules, "program")
    assert imports.find("m0.missing") is None
    assert not imports.writes("m0.missing")
    assert imports.find("m0.swish") is not None
    assert imports.writes("m0.swish") == "function"
    assert modules.asked < 1000
