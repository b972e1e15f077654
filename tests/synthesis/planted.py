"""Mistakes planted into fixes and judged by synthesised calls alone: `python -m tests.synthesis.planted [--every 6]`.

    PYTHONPATH=.:tests python -m tests.synthesis.planted [--held-out] [--every N] [--most N] [NAME...]

A row for each file: how many mistakes that change what the call computes were planted, and their verdicts. Exit code 1
when one of them is called fixed or equivalent.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator

import torch
from mutants.measure import Planted, measured
from mutants.subjects import Subject

from gradfix import edits, registry
from gradfix.backward.cases import DeclaredCall
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.command_line import run
from gradfix.engine.engine import Policy
from gradfix.findings import Applicability, HazardKind, Severity
from gradfix.proof.plan import Loaded, Plan, Rules
from gradfix.proof.proof import Proof
from gradfix.proof.touched import lines_of, places_of
from gradfix.source import Source
from tests.synthesis.measure import texts

RULES = Rules(registry.builtin(), Policy(Severity.WARNING, Applicability.UNSAFE))
CASE = """

def case():
    import functools, types
    own = {{"torch": torch, "SimpleNamespace": types.SimpleNamespace, "data": lambda value: value}}
    names = {{**vars(torch), **own, **globals()}}
    function, args = eval({function!r}, names), [eval(text, names) for text in {args!r}]
    keywords = {{name: eval(text, names) for name, text in {keywords!r}.items()}}
    return (functools.partial(function, **keywords) if keywords else function), tuple(args)
"""


def subjects(name: str, text: str, checker: Checker) -> Iterator[Subject]:
    """The fix of a text, once for each call that the search finds for it."""
    source = Source.from_text(f"/nowhere/{name}.py", text)
    (planned,) = run.plan(RULES, [Loaded(source.path, source)], lambda path: ())
    if not isinstance(planned, Plan) or not planned.fixed.applied or "import torch\n" not in text:
        return
    proof = Proof(RULES, planned, checker)
    told = [answer for name in planned.sought for answers in proof.found(name).values() for answer in answers]
    found = [call for call, _ in told if call is not None]
    hazards = [r.finding.hazard for r in planned.fixed.applied if r.finding.hazard and r.source is source]
    for call in dict.fromkeys(found):
        case = _case(call)
        yield Subject(
            name,
            text + case,
            edits.apply(text, planned.fixed.edits) + case,
            DeclaredCall(call, synthesised=True),
            frozenset(hazard.kind for hazard in hazards),
            lines_of(source, (), [hazard.write.span for hazard in hazards]),
            places_of(source, (), [h.write.span for h in hazards if h.kind is HazardKind.DISCONNECTED]),
        )


def _case(call: str) -> str:
    """The call as the `case()` that runs without any part of the check understand."""
    tree = ast.parse(call, mode="eval").body
    assert isinstance(tree, ast.Call)
    keywords = {one.arg: ast.unparse(one.value) for one in tree.keywords}
    return CASE.format(function=ast.unparse(tree.func), args=[ast.unparse(one) for one in tree.args], keywords=keywords)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--most", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    escaped: list[Planted] = []
    total: Counter[str] = Counter()
    with Checker(limits=Limits(total=1e9)) as checker:
        for name, text in list(texts(held_out=options.held_out))[:: options.every]:
            if options.names and name not in options.names:
                continue
            for subject in subjects(name, text, checker):
                made = list(measured(checker, subject, most=options.most))
                verdicts = Counter(one.judgement.verdict.value for one in made)
                total += verdicts
                escaped += [one for one in made if one.escaped]
                print(f"{name}: {len(made)} planted: {dict(verdicts)}", flush=True)
                for one in made:
                    if one.escaped:
                        print(f"  ESCAPED {one.mutant}: {one.judgement.reason}; truth: {one.change}\n{one.text}")
    print(f"{sum(total.values())} mistakes that change something: {dict(total)}; {len(escaped)} escaped")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
