"""Whether somebody may ask a leaf for what only a leaf has, under another name than its own.

`x_copy = x.clone()` leaves `x.grad` where it was. Whoever got the tensor from elsewhere (a list, an attribute, the
function that made it) gets the copy, which has no gradient and which no optimizer takes.
"""

from __future__ import annotations

import ast

from gradfix import torch_ops
from gradfix.analysis.facts import Write
from gradfix.analysis.text.builtin_names import builtin
from gradfix.rewrite.text import names
from gradfix.rewrite.text.scopes import Mention, binds_anew, mentions_of, path_to
from gradfix.source import Source

OWN = frozenset(  # what is asked of the leaf itself
    {"grad", "requires_grad", "is_leaf", "retain_grad", "register_hook", "zero_grad", "grad_fn"}
    | {"register_post_accumulate_grad_hook"}
)
_TELLING = OWN - {"requires_grad", "grad_fn", "zero_grad"}  # a copy answers otherwise
_OPTIMIZERS = frozenset({"SGD", "Adam", "AdamW", "LBFGS", "RMSprop"})
_CALLS = 3
_SCOPES = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
_DISPLAYS = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Starred, ast.keyword, ast.IfExp, ast.BoolOp, ast.NamedExpr)
_COMPUTING = frozenset("print len float int sum max min isinstance type id".split())
_HANDING = frozenset("list tuple dict set zip enumerate reversed iter sorted filter next".split())
_KEEPING = (ast.Return, ast.Yield, ast.YieldFrom)  # whoever calls gets the tensor
_NAMING = (ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension)


def is_asked_elsewhere(source: Source, write: Write) -> bool:
    """Whether a copy in the place of the leaves of `write` may reach who asks for gradients, or registers them."""
    return any(_is_asked(source, leaf) for leaf in write.leaves)


def takes_leaves(function: ast.expr) -> bool:
    """`torch.optim.SGD`, `Adam`, `clip_grad_norm_`: what works on the gradients of leaves."""
    called = ast.unparse(function)
    last = called.rsplit(".", 1)[-1]
    return "optim" in called or last in _OPTIMIZERS or last.startswith("clip_grad")


def inputs_of(call: ast.Call) -> list[ast.expr]:
    """The tensors whose gradients `torch.autograd.grad` gives and `backward` keeps; none where it isn't said."""
    function = ast.unparse(call.func)
    if not function.endswith(("autograd.grad", "backward")):
        return []
    by_place = call.args[1:2] if function.endswith("autograd.grad") else []
    return [*by_place, *(keyword.value for keyword in call.keywords if keyword.arg == "inputs")]


def _is_asked(source: Source, leaf: ast.expr) -> bool:
    tree = names.tree_of(source)
    around = path_to(tree, leaf)
    scope = next((node for node in around if isinstance(node, _SCOPES)), None)
    name = _name_of(next((node for node in around if isinstance(node, ast.stmt)), None))
    if scope is None or name is None:
        return False
    mentions = [m for m in mentions_of(scope, name) if not _is_another(m, scope, name)]
    handed = [m for m in mentions if _is_handed_on(m) and not _is_let_go(tree, m, _CALLS)]
    if not handed:
        return False
    own = {id(mention.node) for mention in mentions}
    is_parameter = isinstance(leaf, ast.Call) and ast.unparse(leaf.func).endswith("Parameter")
    return any(map(_outlives, handed)) or is_parameter or _may_ask(tree, scope, own, name)


def _name_of(made: ast.stmt | None) -> str | None:
    target = made.targets[0] if isinstance(made, ast.Assign) else getattr(made, "target", None)
    if isinstance(target, ast.Attribute):  # x.requires_grad = True
        target = target.value
    if isinstance(made, ast.Expr) and isinstance(made.value, ast.Call) and isinstance(made.value.func, ast.Attribute):
        target = made.value.func.value  # x.requires_grad_()
    return target.id if isinstance(target, ast.Name) else None


def _is_another(mention: Mention, scope: ast.AST, name: str) -> bool:
    return any(binds_anew(outer, name) for outer in mention.around[: mention.around.index(scope)])


def _is_handed_on(mention: Mention) -> bool:
    """Whether the tensor itself, not what is computed from it, gets into other hands."""
    return isinstance(mention.node.ctx, ast.Load) and _holder(mention) is not None  # type: ignore[attr-defined]


def _is_let_go(tree: ast.Module, mention: Mention, left: int) -> bool:
    """Whether the hands are those of a function or module of the file that only computes with the tensor.

    It keeps it nowhere, and asks it for nothing that a leaf has. `left`: how many calls deep that is looked at.
    """
    holder = _holder(mention)
    if not isinstance(holder, ast.Call) or not left or not any(mention.node is one for one in _arguments(holder)):
        return False
    called = _called(tree, holder.func)
    return called is not None and not any(
        _asks(inner) or (_is_handed_on(inner) and not _is_let_go(tree, inner, left - 1))
        for name in _parameters(called)
        for inner in mentions_of(called, name)
    )


def _asks(mention: Mention) -> bool:
    parent = mention.around[0]
    calls = [node for node in mention.around if isinstance(node, ast.Call)]
    differentiates = any(ast.unparse(call.func).endswith(("autograd.grad", "backward")) for call in calls)
    is_asked = isinstance(parent, ast.Attribute) and parent.attr in OWN
    return is_asked or differentiates or any(takes_leaves(call.func) for call in calls)


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _called(tree: ast.Module, function: ast.expr) -> ast.FunctionDef | None:
    """The function of the file that a name calls, or the `forward` of the class whose only object it is."""
    if not isinstance(function, ast.Name) or any(
        isinstance(node, ast.Attribute) and "_hook" in node.attr for node in ast.walk(tree)
    ):
        return None
    bound = [node for node in ast.walk(tree) if _binds(node, function.id)]
    if len(bound) != 1:
        return None
    (made,) = bound
    if isinstance(made, ast.FunctionDef):
        return made if made in tree.body and not made.decorator_list else None
    value = made.value if isinstance(made, ast.Assign) else None
    called = value.func if isinstance(value, ast.Call) else None
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and _is_named(called, node.name)]
    methods = [node for one in classes for node in one.body if isinstance(node, ast.FunctionDef)]
    forwards = [node for node in methods if node.name == "forward" and not node.decorator_list]
    is_plain = len(classes) == len(forwards) == 1 and all(node.name != "__call__" for node in methods)
    return forwards[0] if is_plain else None


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name == name
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return any((alias.asname or alias.name.partition(".")[0]) in (name, "*") for alias in node.names)
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and _is_named(node.targets[0], name):
        return True
    if isinstance(node, ast.arg):
        return node.arg == name
    targets = (node.target,) if isinstance(node, (ast.For, ast.AsyncFor, ast.AugAssign, ast.NamedExpr)) else ()
    return any(_is_named(inner, name) for target in targets for inner in ast.walk(target))


def _is_named(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    return [one.arg for one in every if one is not None and one.arg != "self"]


def _outlives(mention: Mention) -> bool:
    """Whether those hands may be in another file: the function returns the tensor, or an object keeps it."""
    holder = _holder(mention)
    if isinstance(holder, ast.Assign):
        return any(isinstance(target, ast.Attribute) for target in holder.targets)
    return isinstance(holder, _KEEPING)


def _holder(mention: Mention) -> ast.AST | None:
    """The node that hands the tensor on as it is; None where something is computed from it."""
    inner: ast.AST = mention.node
    for node in mention.around:
        if isinstance(node, ast.Call):
            if inner is node.func or not _hands(node):
                return None if inner is node.func or _computes(node) else node
        elif isinstance(node, (*_KEEPING, ast.Lambda)):
            return node
        elif isinstance(node, _NAMING):
            iterates = isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension))
            return None if iterates and inner is mention.node else node  # rows of the tensor
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            pass
        elif not isinstance(node, _DISPLAYS) or (isinstance(node, (ast.IfExp, ast.BoolOp)) and _is_test(node, inner)):
            return None
        inner = node
    return None


def _is_test(node: ast.IfExp | ast.BoolOp, inner: ast.AST) -> bool:
    return isinstance(node, ast.IfExp) and inner is node.test


def _hands(call: ast.Call) -> bool:
    return builtin(call.func) in _HANDING


def _computes(call: ast.Call) -> bool:
    """Functions of torch and methods of tensors hand nothing on; an optimizer is asked about by itself.

    A class does: `nn.ParameterDict({"a": x})`.
    """
    if takes_leaves(call.func):
        return True
    if isinstance(call.func, ast.Name):
        return builtin(call.func) in _COMPUTING
    called = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if called[:1].isupper():
        return False
    return torch_ops.method(called) is not None or ast.unparse(call.func).startswith(("torch.", "F.", "nn."))


def _may_ask(tree: ast.Module, scope: ast.AST, own: set[int], name: str) -> bool:
    """Whether anything in the file asks for what a leaf has, but by the leaf's own name or another leaf's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _TELLING:
            if id(node.value) not in own and not _is_of_another(node.value, scope, name):
                return True
        elif isinstance(node, ast.Call):
            every = [*node.args, *(keyword.value for keyword in node.keywords)]
            given = every if takes_leaves(node.func) else inputs_of(node)
            if any(not _is_spelled_out(argument, own, scope, name) for argument in given):
                return True
    return False


def _is_spelled_out(argument: ast.expr, own: set[int], scope: ast.AST, name: str) -> bool:
    """`[x, y]`, `0.1`, `model.parameters()`: nothing that was put together elsewhere."""
    if isinstance(argument, (ast.List, ast.Tuple)):
        return all(_is_spelled_out(item, own, scope, name) for item in argument.elts)
    if isinstance(argument, ast.Dict):
        return all(_is_spelled_out(item, own, scope, name) for item in argument.values)
    if isinstance(argument, ast.Call):
        return isinstance(argument.func, ast.Attribute) and argument.func.attr == "parameters"
    return isinstance(argument, ast.Constant) or id(argument) in own or _is_of_another(argument, scope, name)


def _is_of_another(expression: ast.expr, scope: ast.AST, name: str) -> bool:
    """Whether it is a variable of the scope that is given nothing spelled with the leaf."""
    if not isinstance(expression, ast.Name) or expression.id == name:
        return False
    bound = False
    for node in ast.walk(scope):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == expression.id for target in targets):
                bound = not any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node.value))
                if not bound:
                    return False
    return bound
