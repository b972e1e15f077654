"""`gradfix apply` with the backward check: programs are really run, before and after."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from command_line import Done, gradfix  # noqa: E402
from lending import Lender  # noqa: E402
from starting import started  # noqa: E402
from test_examples import PROGRAMS, _build, _double_precision, _slope  # noqa: E402, F401  # needs torch

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the check runs on Linux only"),
    pytest.mark.usefixtures("lent"),
]

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
BROKEN = "import torch\n\nx = torch.ones(3, requires_grad=True)\ny = x.exp()\ny[0] = 10\ny.sum().backward()\n"

WRONG = '''"""Cuts the graph, which silences the error.

## What it does
Harm.
"""
import re

from gradfix.codemod import codemod
from gradfix.edits import Edit
from gradfix.findings import Applicability, Finding, Identity, Rewrite, Severity
from gradfix.source import Span


@codemod("MY101", "cut", since="0.1", applicability=Applicability.SAFE, symptom="x", needles=("sin",))
def cut(source, facts):
    for match in re.finditer(r"[.]sin[(][)]$", source.text, re.MULTILINE):
        span = Span(*match.span())
        edits = (Edit(span, ".sin().detach().requires_grad_()"),)
        yield Finding(
            code="MY101", name="cut", severity=Severity.WARNING, message="a sine", span=span,
            identity=Identity("MY101", "<module>", "sin", 0), hazard=None,
            rewrites=(Rewrite("Cut the graph", Applicability.SAFE, lambda source: edits),),
        )
'''


def in_a_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "gradfix", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )


def _verdicts(done: Done) -> dict[str, str | None]:
    rows = json.loads(done.stdout)
    return {f"{row['code']} {row['status']}": row["verification"] and row["verification"]["verdict"] for row in rows}


BUFFERS = {
    "GF202": """
out = torch.zeros(3)
loss = 0
for scale in (1.0, 2.0):
    for i in range(3):
        out[i] = torch.exp(scale * x[i])
    loss = loss + (out * out).sum()
""",
    "GF203": """
out = torch.zeros(3, 3)
for i in range(1, 3):
    for j in range(1, 3):
        out[i, j] = x[i] * x[j] + torch.minimum(out[i - 1, j], out[i, j - 1])
loss = out.sum()
""",
    "GF204": """
y = torch.exp(x)
m = y > 1.2
y[m] = torch.log(y[m])
y[~m] = 2 * y[~m]
loss = y.sum()
""",
}


def test_lists_of_slots_and_selected_values_are_proven(tmp_path: Path) -> None:
    for code, body in BUFFERS.items():
        text = f"import torch\n\nx = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)\n{body}loss.backward()\n"
        (tmp_path / f"{code}.py").write_text(text)
    done = gradfix("apply", ".", "--output-format", "json", cwd=tmp_path)
    assert _verdicts(done) == {f"{code} applied": "fixed" for code in BUFFERS}
    again = gradfix("apply", "--diff", ".", "--output-format", "json", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "")


def test_a_program_is_fixed_and_proven(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BROKEN)
    dry = in_a_process("apply", "--diff", ".", cwd=tmp_path)
    assert dry.returncode == 1
    assert dry.stdout.startswith("--- a/a.py\n+++ b/a.py\n")
    listed, found = dry.stderr.index("a.py: as a program"), dry.stderr.index("error[GF101]")
    assert listed < found, "what runs is said first"
    assert '= fixed: raised "modified by an inplace operation" before; after, same loss' in dry.stderr
    assert (tmp_path / "a.py").read_text() == BROKEN
    done = gradfix("apply", "--require-verified", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Fixed 1 finding in 1 file (1 fixed)." in done.stderr
    (tmp_path / "a.py").write_text(BROKEN)
    (tmp_path / "p.patch").write_text(dry.stdout)
    subprocess.run(["git", "apply", "p.patch"], cwd=tmp_path, check=True)
    patched = (tmp_path / "a.py").read_text()
    (tmp_path / "a.py").write_text(BROKEN)
    gradfix("apply", ".", cwd=tmp_path)
    assert (tmp_path / "a.py").read_text() == patched, "the dry run equals the real run"


def test_a_wrong_fix_is_left_out_and_the_right_one_kept(tmp_path: Path) -> None:
    text = BROKEN.replace("y.sum()", "z = (y * x).sin()\n(z * x).sum()")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "cut.py").write_text(WRONG)
    (tmp_path / "a.py").write_text(text)
    done = gradfix("apply", "--codemods", "rules", "--output-format", "json", "a.py", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert _verdicts(done) == {"GF101 applied": "fixed", "MY101 left": "rejected"}
    after = (tmp_path / "a.py").read_text()
    assert "z = (y * x).sin()\n" in after
    assert "\ny[0] = 10\n" not in after


def test_a_fix_is_not_blamed_for_a_hazard_that_is_left(tmp_path: Path) -> None:
    doubled = (
        "class Double(torch.autograd.Function):\n"
        "    @staticmethod\n    def forward(ctx, t):\n"
        "        ctx.save_for_backward(t)\n        return t.mul_(1) * 2\n\n"
        "    @staticmethod\n    def backward(ctx, grad):\n        return grad * ctx.saved_tensors[0].sign().abs() * 2\n"
    )
    two = BROKEN.replace("import torch\n", "import torch\n\n\n" + doubled + "\n").replace(
        "y.sum()",
        "z = x * 1\nkept = [z]\nd = Double.apply(z)\nz[0] = 1\n(y.sum() + z.sum() + kept[0].sum() + d.sum())",
    )
    (tmp_path / "a.py").write_text(two)
    done = gradfix("apply", "--output-format", "json", "a.py", cwd=tmp_path)
    assert _verdicts(done) == {"GF101 applied": "fixed", "GF101 left": None}
    judged = next(one["verification"] for one in json.loads(done.stdout) if one["status"] == "applied")
    line = 1 + two.splitlines().index("z[0] = 1")
    assert judged["remaining"] == [
        f"`z[0] = 1` in line {line} overwrites what `Function.apply` saved in line {line - 1}"
    ]
    assert "\ny[0] = 10\n" not in (tmp_path / "a.py").read_text()


def test_a_fix_of_a_call_is_judged_by_what_happens_in_the_other_file(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def clip(h):\n    h[h > 1] = 1\n")
    (tmp_path / "a.py").write_text(
        "import torch\nfrom helpers import clip\n\nx = torch.ones(3, requires_grad=True)\n"
        "y = x.exp()\nclip(y)\nz = x.cosh().sqrt()\nclip(z)  # gradfix: ignore\n(y.sum() + z.sum()).backward()\n"
    )
    done = gradfix("apply", "--output-format", "json", "a.py", cwd=tmp_path)
    judged = [one["verification"] for one in json.loads(done.stdout)]
    assert [one["verdict"] for one in judged] == ["fixed"]
    assert judged[0]["remaining"] == ["`h[h > 1] = 1` in helpers.py, line 2 overwrites what `sqrt` saved in line 7"]


def test_a_library_is_checked_by_calls_that_are_found_or_declared(tmp_path: Path) -> None:
    function = "def f(x):\n    y = x.exp()\n    y[0] = 10\n    return y.sum()\n"
    picky = function.replace("def f(x):", "def g(x):\n    if x.shape != (7, 3, 11):\n        raise ValueError('no')")
    path = tmp_path / "a.py"
    path.write_text(f"import torch\n\n\n{function}\n\n{picky}")
    done = gradfix("apply", "--require-verified", "a.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "a.py: calls of `f`, to be found, calls of `g`, to be found" in done.stderr
    assert "ran: `f(randn(5, 4))`, synthesised" in done.stdout
    assert path.read_text().count("x.exp().clone()") == 1
    assert "unchecked: no call of `g` was found to run: last error ValueError: no" in done.stdout
    assert "`# gradfix: verify f(x=randn(4, 3))`" in done.stdout
    (tmp_path / "gradfix.toml").write_text('[[verify]]\nfile = "a.py"\ncall = "g(randn(7, 3, 11))"\n')
    done = gradfix("apply", "--require-verified", "a.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "a.py: g(randn(7, 3, 11))" in done.stderr
    assert "= fixed: " in done.stdout


def test_a_call_is_sought_where_the_program_passes_an_error_by(tmp_path: Path) -> None:
    model = (
        "import torch\nfrom torch import nn\n\n\nclass Gate(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = nn.Linear(3, 3)\n\n"
        "    def forward(self, x):\n        s = self.net(x).tanh()\n        s[:, 0] = 0.0\n        return s.sum()\n"
    )
    main = "import torch\nfrom a import Gate\n\nw = torch.ones(1, requires_grad=True)\n"
    (tmp_path / "a.py").write_text(model)
    (tmp_path / "main.py").write_text(main + "(w * Gate()(torch.ones(2, 3)).detach()).backward()\n")
    done = gradfix("apply", "--diff", ".", cwd=tmp_path)
    assert "= fixed: " in done.stderr
    assert "synthesised" in done.stderr


def test_when_the_budget_is_spent_the_rest_is_unchecked(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(BROKEN)
    done = gradfix("apply", "--verify-budget", "0.001", "--output-format", "json", ".", cwd=tmp_path)
    verdicts = [row["verification"] for row in json.loads(done.stdout)]
    assert (verdicts[1]["verdict"], verdicts[1]["reason"]) == ("unchecked", "the budget of the check is spent")
    assert done.returncode == 0


def test_an_interpreter_without_torch_leaves_fixes_unchecked(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BROKEN)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    bare = tmp_path / "bare" / "bin" / "python"
    done = gradfix("apply", "--diff", "--python", str(bare), "a.py", cwd=tmp_path)
    assert "= unchecked: " in done.stderr
    assert "torch" in done.stderr


def test_ctrl_c_while_checking_leaves_the_tree_and_no_process(tmp_path: Path) -> None:
    mark = f"93{os.getpid()}"
    slow = BROKEN.replace("y.sum()", f"import subprocess\nsubprocess.run(['sleep', '{mark}'])\ny.sum()")
    (tmp_path / "a.py").write_text(slow)
    process = subprocess.Popen(
        [sys.executable, "-m", "gradfix", "apply", "a.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    until = time.monotonic() + 60
    while not _mentioning(f"sleep\0{mark}") and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "a.py: as a program" in err
    assert _mentioning(f"sleep\0{mark}") == []
    assert (tmp_path / "a.py").read_text() == slow
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py"]


def test_the_example_of_the_readme_is_real(tmp_path: Path) -> None:
    shown = (ROOT / "README.md").read_text().split("```console\n", 1)[1].split("```", 1)[0]
    _, program, output = re.split(r"^\$ .*\n", shown, flags=re.MULTILINE)
    (tmp_path / "train.py").write_text(program)
    done = gradfix("apply", "train.py", cwd=tmp_path)
    expected, found = (re.sub("= cost: .*", "= cost: …", text) for text in (output, done.stdout))
    assert expected.endswith(found + done.stderr.splitlines()[-1] + "\n")


@pytest.fixture(scope="module")
def applied(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples that `gradfix apply` has been over."""
    folder = tmp_path_factory.mktemp("examples")
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, folder)
    with lender.lending():
        done = gradfix("apply", "--unsafe-fixes", "--verify-budget", "240", "--output-format", "json", ".", cwd=folder)
    verdicts = [row["verification"]["verdict"] for row in json.loads(done.stdout) if row["status"] == "applied"]
    assert len(verdicts) >= len(PROGRAMS)
    assert set(verdicts) <= {"fixed", "equivalent"}, done.stdout
    assert not [row for row in json.loads(done.stdout) if row["status"] == "left" and row["severity"] == "error"]
    return folder


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_after_apply_the_examples_run(name: str, applied: Path) -> None:
    done = started(applied / f"{name}.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("_double_precision")
@pytest.mark.parametrize("name", PROGRAMS)
def test_after_apply_gradients_equal_central_differences_of_the_original(name: str, applied: Path) -> None:
    original, fixed = _build(name, EXAMPLES / f"{name}.py"), _build(name, applied / f"{name}.py")
    loss = fixed.loss()
    torch.testing.assert_close(loss, original.loss(), rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(loss, fixed.leaves)
    for _ in range(5):
        direction = [torch.randn_like(leaf) for leaf in original.leaves]
        predicted = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True))
        assert predicted == pytest.approx(_slope(original, direction), rel=1e-5, abs=1e-8)


def test_a_second_apply_changes_nothing(applied: Path) -> None:
    before = {path.name: path.read_bytes() for path in applied.glob("*.py")}
    done = gradfix("apply", "--unsafe-fixes", ".", cwd=applied)
    assert "Fixed 0 findings" in done.stderr or "All checks passed!" in done.stderr
    assert {path.name: path.read_bytes() for path in applied.glob("*.py")} == before


@pytest.mark.parametrize("name", ["seed_1_non_scalar", "seed_2b_saved_write", "seed_3_zeros_conditional"])
def test_quickfix_on_the_seeds_equals_apply(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    text = (EXAMPLES / f"{name}.py").read_text()
    path.write_text(text)
    check = gradfix("check", "--output-format", "json", "a.py", cwd=tmp_path)
    (found,) = json.loads(check.stdout)
    quick = gradfix("quickfix", f"a.py:{found['location']['row']}:{found['location']['column']}", cwd=tmp_path)
    (finding,) = json.loads(quick.stdout)["findings"]
    data = text.encode()
    for edit in reversed(finding["fixes"][0]["edits"]):
        start, end = edit["range"]["bytes"]
        data = data[:start] + edit["new_text"].encode() + data[end:]
    done = gradfix("apply", "--unsafe-fixes", "--output-format", "json", "a.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == data
    (row,) = json.loads(done.stdout)
    assert row["verification"]["verdict"] == "fixed", row["verification"]


def test_the_harmless_seed_is_rewritten_on_request_only(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    text = (EXAMPLES / "seed_2_harmless_write.py").read_text()
    path.write_text(text)
    assert gradfix("apply", "a.py", cwd=tmp_path).returncode == 0
    assert path.read_text() == text
    done = gradfix("apply", "--severity", "info", "--output-format", "json", "a.py", cwd=tmp_path)
    assert _verdicts(done) == {"GF101 applied": "equivalent"}
    ran = started(path)
    assert ran.stdout == "tensor([0., 1., 1.])\n"


def test_files_side_by_side_come_out_as_one_after_the_other(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.py").write_text(BROKEN)
    one, two = (gradfix("apply", "--diff", "--jobs", jobs, ".", cwd=tmp_path) for jobs in ("1", "2"))
    assert one.returncode == 1
    assert one.stdout == two.stdout
    assert two.stderr.count("= fixed: ") == 3


def test_the_evidence_of_a_rejected_fix_is_kept_on_demand(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "cut.py").write_text(WRONG)
    (tmp_path / "a.py").write_text(BROKEN.replace("y.sum()", "z = (y * x).sin()\n(z * x).sum()"))
    done = gradfix("apply", "--codemods", "rules", "--keep-failed", "a.py", cwd=tmp_path)
    kept = re.search(r"The evidence of rejected fixes is kept in (\S+)\.\n", done.stderr)
    assert kept is not None, done.stderr
    places = list(Path(kept[1]).iterdir())
    assert any(f"its evidence is kept in {place}" in done.stdout for place in places)
    assert all((place / "verdict.txt").read_text().startswith(str(tmp_path / "a.py")) for place in places)
    shutil.rmtree(kept[1])


def test_a_helper_is_judged_by_the_program_that_imports_it(tmp_path: Path) -> None:
    helper = "import torch\n\n\ndef f(x):\n    y = x.exp()\n    y[0] = 10\n    return y.sum()\n"
    program = "import torch\nfrom lib.helper import f\n\nf(torch.randn(3, requires_grad=True)).backward()\n"
    (tmp_path / "src" / "lib").mkdir(parents=True)
    (tmp_path / "src" / "lib" / "__init__.py").touch()
    (tmp_path / "src" / "lib" / "helper.py").write_text(helper)
    (tmp_path / "train.py").write_text(program)
    among = gradfix("apply", "--diff", "--output-format", "json", "src", "train.py", cwd=tmp_path)
    assert '"verdict": "fixed"' in among.stderr
    assert '"ran": "program train.py"' in among.stderr
    assert "src/lib/helper.py: by the program train.py" in among.stderr
    (tmp_path / "gradfix.toml").write_text('[[verify]]\nfile = "src/lib/*.py"\nprogram = "train.py"\n')
    declared = gradfix("apply", "--require-verified", "src", cwd=tmp_path)
    assert declared.returncode == 0, declared.stderr
    assert "ran: program train.py" in declared.stdout
    assert (tmp_path / "src" / "lib" / "helper.py").read_text() != helper


def test_the_users_own_command_judges_too(tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(
        "import torch\n\n\ndef f(x):\n    y = x.exp()\n    y[0] = 10\n    return y.sum()\n"
    )
    command = "python -c 'import torch, loss; loss.f(torch.ones(3, requires_grad=True)).backward()'"
    done = gradfix("apply", "--require-verified", "--verify-with", command, "loss.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"loss.py: `{command}` on a copy of ." in done.stderr
    assert f"= fixed: `{command}` exits with 1 before, with 0 after" in done.stdout


@pytest.mark.parametrize(
    ("number", "moment"),
    [*((signal.SIGINT, moment) for moment in (0.05, 0.4, 0.9, 2.6)), (signal.SIGTERM, 1.7), (signal.SIGHUP, 4.0)],
)
def test_an_interrupt_at_any_moment_leaves_the_tree_as_it_was_and_nothing_behind(
    tmp_path: Path, number: signal.Signals, moment: float
) -> None:
    project, temporary = tmp_path / "project", tmp_path / "temporary"
    for folder in (project, temporary):
        folder.mkdir()
    for name in "abc":
        (project / f"{name}.py").write_text(BROKEN + "import time\ntime.sleep(0.3)\n")
    before = {path: path.read_bytes() for path in project.iterdir()}
    process = subprocess.Popen(
        [sys.executable, "-m", "gradfix", "apply", "--jobs", "2", "."],
        cwd=project,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
    )
    time.sleep(moment)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    after = {path: path.read_bytes() for path in project.iterdir()}
    assert process.returncode in (0, 128 + number, -number, 1), err  # before Python has its handler, the signal itself
    assert after == before or process.returncode == 0
    until = time.monotonic() + 5
    while (left := _mentioning(str(temporary))) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []
    assert list(temporary.iterdir()) == []


def _mentioning(text: str) -> list[str]:
    """Command lines of processes that mention `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        found += [line] * (text in line)
    return found
