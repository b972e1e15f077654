"""A step along the gradient that made a new tensor, `w = w - lr * w.grad`, whose `.grad` is asked for next."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import partial

from gradfix.analysis.backward_facts import NonLeafGrad
from gradfix.analysis.facts import Spelling
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import same, short
from gradfix.rewrite.text.quiet_blocks import put_under
from gradfix.rewrite.text.scope_uses import start_of
from gradfix.rewrite.text.scopes import path_to
from gradfix.rewrite.text.steps import in_place, is_reset, is_step, with_new_leaf
from gradfix.source import Source

_ODD = Refusal(RefusalKind.SPELLING, "the step isn't spelled as expected", "update the leaf under `torch.no_grad()`")


def update_leaf(source: Source, grad: NonLeafGrad, spelling: Spelling, grads: Sequence[NonLeafGrad]) -> Rewrite | None:
    """Have the step that made the tensor of `grad` leave a leaf; None where it wasn't made by one.

    Where the gradient is reset by hand, the leaf is written to, with steps of `grads`, all there are in the file, that
    stand beside it; else each step makes a leaf of its own, whose gradient begins anew.
    """
    step = _step_of(source, grad)
    if step is None:
        return None
    name = short(source, grad.target)
    if not is_reset(source, step):
        build = partial(_build_anew, step=step)
        return Rewrite(f"Make `{name}` a leaf after each step", Applicability.UNSAFE, build, "leaf-last")
    if not names.can_spell_torch(spelling):
        return None
    steps = [other for one in grads if (other := _step_of(source, one)) is not None and is_reset(source, other)]
    build = partial(_build_in_place, step=step, steps=steps, spelling=spelling)
    return Rewrite(f"Update `{name}` under `torch.no_grad()`", Applicability.UNSAFE, build, "no-grad")


def _step_of(source: Source, grad: NonLeafGrad) -> ast.Assign | None:
    """The step that made the tensor."""
    around = path_to(names.tree_of(source), grad.made) if grad.made is not None and not grad.by_optimizer else ()
    statement = next(iter(around), None)
    return (
        statement if statement is not None and is_step(statement) and same(statement.targets[0], grad.target) else None
    )


def _build_anew(source: Source, *, step: ast.Assign) -> tuple[Edit, ...] | Refusal:
    return with_new_leaf(source, step, ".detach().requires_grad_()") or _ODD


def _build_in_place(
    source: Source, *, step: ast.Assign, steps: Sequence[ast.Assign], spelling: Spelling
) -> tuple[Edit, ...] | Refusal:
    shortened = {start_of(one): made for one in (*steps, step) if (made := in_place(source, one))}
    if start_of(step) not in shortened:
        return _ODD
    head = f"with {names.torch_name(spelling, 'no_grad')}():"
    block = put_under(source, step, head, lambda statement: start_of(statement) in shortened)
    if isinstance(block, Refusal):
        return block
    inside = {start_of(node) for one in block.statements for node in ast.walk(one) if isinstance(node, ast.stmt)}
    edits = [edit for place, made in shortened.items() if place in inside for edit in made]
    return (*block.edits, *edits, *names.import_torch(source, spelling, block.opened))
