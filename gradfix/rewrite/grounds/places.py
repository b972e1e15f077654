"""What a write can be turned into an assignment to."""

from __future__ import annotations

import ast

from gradfix import torch_ops
from gradfix.analysis.facts import Write, WriteForm
from gradfix.analysis.text import targets
from gradfix.analysis.text.targets import is_view_attribute
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_container_item, is_place
from gradfix.source import Source
from gradfix.torch_ops import ViewKind


def place_of(write: Write) -> ast.expr | None:
    """The expression to assign the new tensor to; None when there is none.

    For a write through a view that is spelled out, the base of the view. The items of lists and dicts are places, those
    of tensors aren't: assigning to `y[0]` would be another write. The facts tell them apart: only a view has a holder.
    """
    place = root_of(write.target)
    if writes_through_view(write):
        while (base := view_base(place)) is not None:
            place = root_of(base)
            if write.holder is None and isinstance(place, ast.Subscript):
                break  # `items[0]` of `items[0].view(-1)`
    if write.holder is not None and isinstance(place, ast.Attribute) and is_view_attribute(place):
        return None
    return place if is_place(place) else None


def writes_through_view(write: Write) -> bool:
    """Whether the target is a view spelled out, as in `y[0].exp_()`, rather than the tensor to assign to."""
    root = root_of(write.target)
    if isinstance(root, ast.Subscript) and (write.holder is None or write.form is WriteForm.AUGMENTED):
        return False  # `ys[0] += v` of a tensor would be an augmented index
    if isinstance(root, ast.Attribute) and write.holder is None:
        return False  # `field.data` of an object that isn't a tensor
    return view_base(root) is not None


def is_kept(write: Write) -> bool:
    """Whether a name or what hangs on one keeps the tensor, as `hs` does for `hs[i + 1]`, which may be no place."""
    holder = root_of(write.target)
    while (base := view_base(holder)) is not None:
        holder = root_of(base)
    return targets.root_of(holder) is not None


def is_view(expression: ast.expr) -> bool:
    """Whether it is spelled as a view of a tensor: `y[0]`, `y.t()`, `y.T`."""
    return view_base(expression) is not None


def root_of(target: ast.expr) -> ast.expr:
    """The tensor at the root of a chain of writing methods: `y` of `y.mul_(2)`."""
    while (inner := inner_link(target)) is not None:
        target = inner
    return target


def view_base(expression: ast.expr) -> ast.expr | None:
    """`y` of `y[0]`, `y.t()` and `y.T`; None for what isn't spelled as a view."""
    if isinstance(expression, ast.Subscript):
        return None if is_container_item(expression) else expression.value
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute):
        return expression.func.value if _is_view_method(expression.func.attr) else None
    return expression.value if isinstance(expression, ast.Attribute) and is_view_attribute(expression) else None


def _is_view_method(name: str) -> bool:
    operator = torch_ops.method(name)
    itself = operator is not None and operator.view is ViewKind.SELF and not is_writing(name)  # `y.cpu()`
    return itself or (operator is not None and operator.view in (ViewKind.VIEW, ViewKind.MAYBE))


def inner_link(target: ast.expr) -> ast.expr | None:
    """What `target` is called on, when it is the call of a writing method."""
    if isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute) and is_writing(target.func.attr):
        return target.func.value
    return None


def is_writing(method: str) -> bool:
    """Whether `method` is spelled as torch spells its in-place methods."""
    return method.endswith("_") and not method.endswith("__")


def clone_of(source: Source, place: ast.expr) -> str:
    """The statement that gives `place` a copy of its tensor."""
    text = source.span_of(place).text(source.text)
    return f"{text} = {text}.clone()"


def temporary(source: Source) -> str:
    """A name for a value that must be computed before the write."""
    return names.fresh(source, "value", "new_value", "written_value")


def is_single_assignment(write: Write) -> bool:
    """`y[i] = v` and nothing more: one target, not unpacked, not annotated."""
    node = write.node
    return isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript)


def is_unpacked(write: Write) -> bool:
    """Whether the write is one of several targets that share a value."""
    node = write.node
    return isinstance(node, ast.Assign) and any(isinstance(target, (ast.Tuple, ast.List)) for target in node.targets)


def swaps(write: Write) -> Refusal | None:
    """`y[0], y[1] = y[1], y[0]`: the right side are views, so the second value written is already overwritten."""
    node = write.node
    if not isinstance(node, ast.Assign) or write.form is not WriteForm.INDEX or write.value is None:
        return None
    unpacked = is_unpacked(write)
    values = node.value.elts if isinstance(node.value, (ast.Tuple, ast.List)) else []
    views = [value for value in values if isinstance(value, ast.Subscript) and ast.dump(value.value) == _loaded(write)]
    if not unpacked or not views:
        return None
    name = ast.unparse(write.target)
    return Refusal(
        RefusalKind.MEANING,
        f"the values are views of `{name}`: the first write already changes the second value, so this is no swap",
        f"take copies (`{ast.unparse(views[0])}.clone()`) if a swap is meant",
    )


def _loaded(write: Write) -> str:
    return ast.dump(write.target).replace("ctx=Store()", "ctx=Load()")
