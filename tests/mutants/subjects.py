"""What the mistakes are planted into: fixtures, labelled files, examples and random programs, as gradfix fixes them."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradfix import edits, registry
from gradfix.backward.cases import Case, DeclaredCall, Program
from gradfix.engine import engine
from gradfix.findings import Applicability, HazardKind, Severity
from gradfix.proof.touched import lines_of, places_of
from gradfix.source import Source

from .catalogue import Around, Mutant

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
POLICY = engine.Policy(Severity.WARNING, Applicability.UNSAFE)
CASE = "case()[0](*case()[1])"
WRITTEN = {  # programs whose fixes have what no fixture's has
    "slice": """\
x = torch.randn(5, requires_grad=True)
y = x.exp()
y[1:4] = -x[:3].sin()
loss = (y * y * y).sum()
loss.backward()
""",
    "two indices": """\
x = torch.randn(4, 4, requires_grad=True)
i, j = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 3])
m = x.sigmoid()
m[i, j] = x[0, 1:] * 2
loss = (m * m).sum()
loss.backward()
""",
    "element": """\
x = torch.randn(3, requires_grad=True)
y = x.exp()
y[0] = 10
loss = (y * y * y).sum()
loss.backward()
""",
    "wider value": """\
x = torch.randn(4, requires_grad=True)
h = x.exp()
h += torch.ones(4, dtype=torch.float64)
loss = h.sum()
loss.backward()
""",
    "infinite where masked": """\
x = torch.randn(6, requires_grad=True)
y = torch.where(x > 0, x, float("inf"))
low = y.clamp(max=3)
y[y.isinf()] = 0.0
loss = low.sum() + (y * y * y).sum()
loss.backward()
""",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """One file with its fix, and how to run both."""

    name: str
    before: str
    after: str
    case: Case
    kinds: frozenset[HazardKind]
    writes: frozenset[int]  # lines
    cuts: tuple[tuple[int, int, int, int], ...] = ()

    def lines(self, after: str) -> tuple[frozenset[int], frozenset[int]]:
        """The lines that differ, of the original and of `after`."""
        ours, theirs = self.before.splitlines(), after.splitlines()
        changed = [op for op in difflib.SequenceMatcher(None, ours, theirs, False).get_opcodes() if op[0] != "equal"]
        return (
            frozenset(n + 1 for _, a, b, _, _ in changed for n in range(a, b)),
            frozenset(n + 1 for _, _, _, a, b in changed for n in range(a, b)),
        )


def fixed(name: str, before: str, case: Case, form: str = "functional") -> Subject | None:
    """The subject of a text; None when nothing in it is fixed."""
    source = Source.from_text(f"{name}.py", before)
    result = engine.fix(source, registry.builtin(), engine.Policy(POLICY.severity, POLICY.applicability, form))
    if not result.applied:
        return None
    hazards = [r.finding.hazard for r in result.applied if r.finding.hazard is not None and r.source is source]
    kinds = frozenset(hazard.kind for hazard in hazards)
    lines = lines_of(source, (), [hazard.write.span for hazard in hazards])
    spans = [hazard.write.span for hazard in hazards if hazard.kind is HazardKind.DISCONNECTED]
    places = places_of(source, (), spans)
    return Subject(f"{name}:{form}", before, edits.apply(before, result.edits), case, kinds, lines, places)


def fixtures() -> Iterator[Subject]:
    """Every `*.before.py` and labelled file with a finding, in the functional and in the clone form."""
    for path in [*sorted(FIXTURES.glob("*/*.before.py")), *sorted((FIXTURES / "labelled").glob("*.py"))]:
        yield from _of_file(path)


def chosen(names: Iterable[str]) -> Iterator[Subject]:
    """Those of the fixtures of the given names, "folder/file" without its endings."""
    for name in names:
        (path,) = [p for end in (".before.py", ".py") if (p := FIXTURES / f"{name}{end}").exists()]
        yield from _of_file(path)


def written() -> Iterator[Subject]:
    """The fixes of `WRITTEN`, in both forms."""
    for name, text in WRITTEN.items():
        yield from _both_forms(f"written/{name}", f"import torch\n\n{text}print(x.grad)\n", Program())


def _of_file(path: Path) -> Iterator[Subject]:
    text = path.read_text(encoding="utf-8")
    case: Case = DeclaredCall(_call_of(text)) if "def case(" in text else Program()
    yield from _both_forms(f"{path.parent.name}/{path.name.split('.')[0]}", text, case)


def examples() -> Iterator[Subject]:
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield from _both_forms(f"examples/{path.stem}", path.read_text(encoding="utf-8"), Program())


def random_programs(seeds: range) -> Iterator[Subject]:
    from truth import grammar

    for seed in seeds:
        program = grammar.generate(seed)
        form = "clone" if seed % 3 == 0 else "functional"
        subject = fixed(f"random/{seed}", program.text, Program(), form)
        if subject is not None:
            yield subject


def _both_forms(name: str, text: str, case: Case) -> Iterator[Subject]:
    made = [fixed(name, text, case, form=form) for form in ("functional", "clone")]
    texts: set[str] = set()
    for subject in made:
        if subject is not None and subject.after not in texts:
            texts.add(subject.after)
            yield subject


def _call_of(text: str) -> str:
    """The call of the first inputs that `case()` gives."""
    several = re.search(r"return [^\n]+, \[", text.partition("\ndef case(")[2])
    return "case()[0](*case()[1][0])" if several else CASE


def planted(subject: Subject, mutant: Mutant, most: int = 3) -> Iterator[str]:
    """Texts of the fix with the mistake made once, in statements that the fix wrote; at most so many."""
    _, changed = subject.lines(subject.after)
    texts: dict[str, None] = {}
    for block in _blocks(ast.parse(subject.after)):
        names = tuple(sorted(_names(block)))
        for statement in block:
            if isinstance(statement, (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.FunctionDef, ast.ClassDef)):
                continue
            if not changed & set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)):
                continue
            for made in mutant.make(statement, Around(names)):
                text = _replaced(subject.after, statement, made)
                if text != subject.after:
                    texts[text] = None
    return iter(list(texts)[:most])


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block


def _names(block: list[ast.stmt]) -> set[str]:
    """Names that the block assigns plainly before anything else reads them."""
    return {
        target.id
        for statement in block
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _replaced(text: str, old: ast.stmt, new: list[ast.stmt]) -> str:
    lines = text.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: old.lineno - 1])) + old.col_offset
    end = sum(map(len, lines[: (old.end_lineno or 0) - 1])) + (old.end_col_offset or 0)
    indent = "\n" + " " * old.col_offset
    pieces = [indent.join(ast.unparse(ast.fix_missing_locations(one)).splitlines()) for one in new]
    data = text.encode()
    return (data[:start] + indent.join(pieces).encode() + data[end:]).decode()
