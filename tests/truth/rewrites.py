"""Applies gradfix's fixes and holds the result against the original's run, or against its oracle where that raises."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeGuard

import torch

from gradfix import edits, registry
from gradfix.codemod import Codemod
from gradfix.engine import engine
from gradfix.findings import Applicability, Severity
from gradfix.source import Source

from . import running
from .grammar import Program
from .judge import close, wide
from .running import Feed, Run

FEEDS = (Feed(0), Feed(1), Feed(5, 1), Feed(6, -1))
STEP = 1e-5
DISCARDED = ("other", "overlap", "second-backward")
_ROOT = re.compile(r"\W")
# What makes the derivative of the forward pass something else than what autograd is asked for.
NOT_A_NUMBER = (
    *("detach", "no_grad", ".data", ".grad", "[1, 1]", "autocast", "opt.", "step", "register_hook"),
    *("double()", "float64", "float()", "half()"),  # another dtype where float64 stands for the default one
)
TOLERANCE, HALF_TOLERANCE = 1e-4, 5e-3  # of gradients: what sums in another order may change, in float32 and float16


@dataclass(slots=True)
class Rewritten:
    """One program under one policy: what was applied and what is wrong with it."""

    text: str
    before: str = "runs"  # the first error of the original over its runs
    applied: tuple[str, ...] = ()  # codes
    problems: list[str] = field(default_factory=list)
    outcome: str = (
        "untouched"  # "equivalent", "fixed", "silent cured", "silent left", "still fails", "no oracle", "untouched"
    )
    compared: str = ""  # "run", "oracle", "differences" or "forward"
    unread: set[str] = field(default_factory=set)  # names that hold something else and that nobody reads any more


@lru_cache(maxsize=1)
def codemods() -> tuple[Codemod, ...]:
    return registry.load()


def rewrite(program: Program, policy: engine.Policy) -> Rewritten:
    """The program after `engine.fix`, with every problem found by looking at the text alone."""
    source = Source.from_text("program.py", program.text)
    try:
        result = engine.fix(source, codemods(), policy)
    except Exception as error:
        return Rewritten(program.text, problems=[f"fix raised {type(error).__name__}: {error}"])
    text = edits.apply(program.text, result.edits)
    made = Rewritten(text, applied=tuple(r.finding.code for r in result.applied))
    made.problems += [
        f"left: {r.refusal.reason}" for r in result.left if r.refusal and "can't parse" in r.refusal.reason
    ]
    try:
        ast.parse(text)
    except SyntaxError as error:
        made.problems.append(f"syntax error after the fix: {error}")
        return made
    again = engine.fix(Source.from_text("program.py", text), codemods(), policy) if result.edits else result
    if again.edits:
        made.problems.append(f"a second run changes it again: {[r.finding.code for r in again.applied]}")
    return made


def check(program: Program, policy: engine.Policy, feeds: Sequence[Feed] = FEEDS) -> Rewritten:
    """Rewrite, then run both; the problems say how they differ."""
    made = rewrite(program, policy)
    befores = [_original(program, fed) for fed in feeds]
    made.before = next((run.kind for run in befores if run.kind is not None), "runs")
    if made.text == program.text or any("syntax" in problem for problem in made.problems):
        return made
    outcomes = [_compare(program, made, fed, run) for fed, run in zip(feeds, befores, strict=True)]
    order = ("differs", "silent left", "still fails", "no oracle", "silent cured", "fixed", "equivalent", "skipped")
    made.outcome = min(outcomes, key=order.index)
    return made


@lru_cache(maxsize=16)
def _original(program: Program, fed: Feed, way: str = "plain") -> Run:
    """A run of the program as it was made: the same under each policy."""
    return running.run(program.text, program.leaves, fed, way)


def policies(program: Program) -> tuple[engine.Policy, engine.Policy]:
    """As users run it, and everything there is to rewrite, in one of both forms."""
    form = "clone" if program.seed % 3 == 0 else "functional"
    return (
        engine.Policy(Severity.WARNING, Applicability.SAFE),
        engine.Policy(Severity.INFO, Applicability.SAFE, form),
    )


def _compare(program: Program, made: Rewritten, fed: Feed, before: Run) -> str:
    after = running.run(made.text, program.leaves, fed)
    if before.kind in DISCARDED:
        return "skipped"
    if before.ran:
        return _differences(program, made, before, after, fed, "run")
    if after.kind is not None:
        ways = ("number", "oracle") if after.kind == "other" else ()  # in float64, and as it is
        if any(after.message == _original(program, fed, way).message for way in ways):
            return "skipped"  # the original would have come to that, too
        if after.kind == "other":
            made.problems.append(f"{fed}: {before.kind} before, after the fix {after.message}")
            return "differs"
        return "still fails"
    if before.raised - set(before.lines):
        return "skipped"  # the program handles an error that the oracle, whose leaves may be written, doesn't meet
    oracle = _original(program, fed, "oracle")
    if oracle.ran:
        return _differences(program, made, oracle, after, fed, "oracle")
    return _numeric(program, made, fed)


def _differences(program: Program, made: Rewritten, truth: Run, after: Run, fed: Feed, source: str) -> str:
    made.compared = source
    found = _found(made, truth, after, source)
    if found and ".data" in program.text and not made.problems:
        if source == "oracle" and _left_silent(program, made, truth, fed):
            return "silent left"
        oracle = _original(program, fed, "oracle")
        if source == "run" and oracle.ran and not _found(made, oracle, after, "oracle"):
            return "silent cured"
    made.problems += [f"{fed} against the {source}: {what}" for what in found]
    if found:
        return "differs"
    return "equivalent" if source == "run" else "fixed"


def _found(made: Rewritten, truth: Run, after: Run, source: str) -> list[str]:
    """What is different."""
    if not after.ran:
        return [f"raises {after.message} at {after.lines}"]
    found = _other_values(made, truth, after)
    tolerance = HALF_TOLERANCE if "half()" in made.text else TOLERANCE
    for name, grad in truth.grads.items():
        if not close(grad, after.grads.get(name), tolerance):
            found.append(f"gradient of {name}: {_short(grad)} became {_short(after.grads.get(name))}")
        elif name in after.readable and name not in truth.rebound and not close(grad, after.readable[name], tolerance):
            found.append(f"{name}.grad is no longer the leaf's: {_short(after.readable[name])}")
    if not _same_state(truth, after):
        found.append("the state of the random number generators differs")
    return found + (_printed(truth, after, tolerance) if source == "run" else [])


def _left_silent(program: Program, made: Rewritten, truth: Run, fed: Feed) -> bool:
    """Whether the result is right but for a silent write that the original hid behind its error."""
    if ".data" not in program.text:
        return False
    again = running.run(made.text, program.leaves, fed, "oracle")
    return again.ran and all(close(grad, again.grads.get(name)) for name, grad in truth.grads.items())


def _other_values(made: Rewritten, truth: Run, after: Run) -> list[str]:
    """How the names that the program reads at its end differ; of the others it is only noted that they do."""
    read = _read_at_the_end(made.text)
    found = []
    for name, tensor in truth.names.items():
        why = _unlike(tensor, after.names.get(name))
        if why is None:
            continue
        if name == "loss" or name in read or _ROOT.split(name)[0] in read:
            found.append(f"{name}: {why}")
        else:
            made.unread.add(name)
    return found


def _read_at_the_end(text: str) -> set[str]:
    """What the calls of `print` at module level show: names, and items; `x.grad` doesn't show `x`."""
    calls = [n.value for n in ast.parse(text).body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]
    printing = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    shown = [a for call in printing for a in call.args if not isinstance(a, ast.Attribute) or a.attr != "grad"]
    items = [node for a in shown for node in ast.walk(a) if _is_item(node)]
    holders = {id(item.value) for item in items}
    names = {node.id for a in shown for node in ast.walk(a) if isinstance(node, ast.Name) and id(node) not in holders}
    return names | {ast.unparse(item) for item in items}


def _is_item(node: ast.AST) -> TypeGuard[ast.Subscript]:
    """`states['a']`, `both[0]`."""
    index = node.slice if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) else None
    return isinstance(index, ast.Constant) and isinstance(index.value, (str, int))


def _printed(truth: Run, after: Run, tolerance: float) -> list[str]:
    same = len(truth.printed) == len(after.printed) and all(
        _equal(a, b, tolerance)
        for one, other in zip(truth.printed, after.printed, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    return [] if same else [f"prints {after.printed} instead of {truth.printed}"]


def _equal(a: object, b: object, tolerance: float) -> bool:
    """Whether both were printed alike: gradients up to `tolerance`, which `print(w.grad)` shows as well."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return close(a, b, tolerance)
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= 1e-5 * max(1.0, abs(a)) or a != a
    return a == b


def _unlike(a: torch.Tensor, b: torch.Tensor | None) -> str | None:
    """How two values of a name differ: bit for bit but for the sign of zeros and NaN payloads."""
    if b is None:
        return "is gone"
    if a.dtype != b.dtype:
        return f"{a.dtype} became {b.dtype}"
    if a.shape != b.shape:
        return f"shape {tuple(a.shape)} became {tuple(b.shape)}"
    if not torch.allclose(wide(a), wide(b), 1e-6, 1e-6, equal_nan=True):
        return f"{_short(a)} became {_short(b)}"
    return None


def _same_state(a: Run, b: Run) -> bool:
    return bool(torch.equal(a.rng[0], b.rng[0])) and a.rng[1] == b.rng[1]


def _short(tensor: torch.Tensor | None) -> str:
    return "None" if tensor is None else str(tensor.tolist())[:120]


# -- central differences ------------------------------------------------------------------------------------


def _numeric(program: Program, made: Rewritten, fed: Feed) -> str:
    """Errors of the forward pass: the values where no gradient stops it, and the slopes of the loss in float64."""
    base = _original(program, fed, "forward")
    loss = running.loss_of(base)
    if loss is None or base.kind is not None:
        return "no oracle"
    new = running.run(made.text, program.leaves, fed, "forward")
    found = _other_values(made, base, new)
    made.compared = "forward"
    if not found and not any(word in program.text for word in NOT_A_NUMBER) and loss.numel() == 1:
        made.compared = "differences"
        found += _slopes(program, made, fed)
    made.problems += [f"{fed} against the numbers: {what}" for what in found]
    return "differs" if found else "fixed"


def _slopes(program: Program, made: Rewritten, fed: Feed) -> list[str]:
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        after = running.run(made.text, program.leaves, fed)
    finally:
        torch.set_default_dtype(dtype)
    found = []
    for name, grad in after.grads.items():
        for place in range(grad.numel() if grad is not None else 0):
            assert grad is not None
            slopes = [_slope(program, fed, name, grad, place, step) for step in (STEP, STEP / 4)]
            if any(s is None for s in slopes) or not close(torch.tensor(slopes[0]), torch.tensor(slopes[1]), 1e-3):
                continue  # a kink, a jump, or no number
            if not close(torch.tensor(slopes[0]), grad.flatten()[place], 1e-2):
                found.append(f"gradient of {name}[{place}] is {grad.flatten()[place]:.6g}, the slope {slopes[0]:.6g}")
    return found


def _slope(program: Program, fed: Feed, name: str, like: torch.Tensor, place: int, step: float) -> float | None:
    ends = []
    for sign in (1, -1):
        shift = torch.zeros(like.numel(), dtype=torch.float64)
        shift[place] = sign * step
        moved = running.run(program.text, program.leaves, fed, "number", {name: shift.view(like.shape)})
        loss = running.loss_of(moved)
        if loss is None or not bool(torch.isfinite(loss).all()):
            return None
        ends.append(float(loss))
    return (ends[0] - ends[1]) / (2 * step)
