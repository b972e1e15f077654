"""gradfix against torch on programs of the second grammar, which are grown by running them.

The seeds are none of those that gradfix was developed with. Larger runs: `python -m tests.truth.measure --grown`.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

torch = pytest.importorskip("torch")

from gradfix.findings import Severity  # noqa: E402
from truth import grown, judge, rewrites, running  # noqa: E402
from truth.grown import templates  # noqa: E402
from truth.judge import Class, Judged  # noqa: E402
from truth.running import Feed  # noqa: E402

CLAIM_SEEDS = range(4_000_000, 4_000_120)
REWRITE_SEEDS = range(5_000_000, 5_000_040)
CONSTRUCTS = (ast.ClassDef, ast.For, ast.FunctionDef, ast.If, ast.ListComp, ast.Try, ast.With)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    torch.set_num_threads(1)
    return [judge.judge(grown.generate(seed)) for seed in CLAIM_SEEDS]


def test_every_template_is_python_whatever_is_chosen() -> None:
    random = Random(0)
    texts = [text for section in templates.blocks().values() for text, _ in section]
    texts += [text for section in templates.operations().values() for text in section]
    for text in texts * 8:
        filled = templates.fill(templates.decide(random, text), lambda hole: f"hole_{hole}")
        assert ast.parse(filled), text


def test_programs_are_the_same_each_time_and_of_many_constructs() -> None:
    made = [grown.generate(seed) for seed in range(60)]
    assert made == [grown.generate(seed) for seed in range(60)]
    nodes = Counter(type(node) for program in made for node in ast.walk(ast.parse(program.text)))
    assert all(nodes[construct] >= 5 for construct in CONSTRUCTS), nodes
    assert not [program.seed for program in made if "__grow" in program.text or "torch.empty(" in program.text]


def test_what_was_grown_runs_up_to_its_end() -> None:
    """Only what autograd refuses is left in a program: in its last statement, or in the backward that is put behind."""
    runs = [running.run(made.text, made.leaves, Feed(0)) for made in map(grown.generate, range(100))]
    kinds = Counter(run.kind for run in runs)
    assert kinds["other"] <= 6, [run.message for run in runs if run.kind == "other"]
    assert kinds[None] >= 40
    assert kinds["saved-then-written"] >= 10


def test_no_error_is_claimed_where_a_program_runs(judged: list[Judged]) -> None:
    wrong = {j.program.seed: j.false_errors or j.crash for j in judged if j.false_errors or j.crash}
    assert not wrong


def test_failing_programs_are_flagged_at_the_very_write(judged: list[Judged]) -> None:
    failing = [j for j in judged if j.kind is Class.FAILS]
    flagged = [j for j in failing if j.flagged is not None]
    assert len(failing) >= 25
    assert len(flagged) >= 0.9 * len(failing), [j.program.seed for j in failing if j.flagged is None]
    assert sum(j.flagged is Severity.ERROR for j in flagged) >= 0.85 * len(flagged)


def test_programs_that_run_carry_few_warnings(judged: list[Judged]) -> None:
    run = [j for j in judged if j.kind is Class.RUNS]
    assert len(run) >= 50
    assert len([j for j in run if j.warned]) <= 0.04 * len(run), [j.program.seed for j in run if j.warned]


def test_safe_fixes_change_nothing_but_what_was_wrong() -> None:
    outcomes: Counter[str] = Counter()
    problems = {}
    for made in map(grown.generate, REWRITE_SEEDS):
        for policy in rewrites.policies(made):
            result = rewrites.check(made, policy)
            outcomes[result.outcome] += 1
            if result.problems:
                problems[made.seed, policy.severity.value] = result.problems[:2]
    assert not problems
    assert outcomes["fixed"] >= 10
