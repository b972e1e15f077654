"""What names mean before anything runs: imports, local variables of functions, signs that a name holds a tensor."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gradfix.analysis.facts import Spelling
from gradfix.analysis.text.nodes import Function, nodes_of
from gradfix.analysis.text.parameters import named_of

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPES = (*FUNCTIONS, ast.ClassDef)

# Methods and attributes that torch.Tensor shares with ndarray, str, list, dict or set: no sign of a tensor.
_COMMON = frozenset(
    """T H mT all any argmax argmin argsort astype base byteswap choose clip compress conj conjugate copy count ctypes
    cumprod cumsum data diagonal dot dtype dump dumps fill flags flat flatten get getfield imag index item items
    itemset itemsize keys max mean min nbytes ndim newbyteorder nonzero partition pop prod ptp put ravel real remove
    repeat reshape resize reverse round searchsorted setfield setflags shape sort split squeeze std strides sum
    swapaxes take tobytes tofile tolist tostring trace transpose update values var view add clear device to name type
    format where expand insert extend append values half float long int bool double double apply map map_ apply_
    type_as cat size is_sparse register_hook eval train cuda cpu detach_ share_memory_ requires_grad_ zero_grad
    reset_parameters numpy log info""".split()
)


_OF_ARRAYS = frozenset(
    "sum mean std var prod cumsum cumprod argmax argmin argsort reshape transpose squeeze dot flatten ravel trace "
    "diagonal any all clip".split()
)


# What a TensorDict has, too: `dir(TensorDict)` of tensordict 0.15.3.
_OF_TENSORDICTS = frozenset(
    """abs abs_ acos acos_ add_ addcdiv addcdiv_ addcmul addcmul_ all amax amin any asin asin_ atan atan_ bfloat16
    bitwise_and broadcast_to ceil ceil_ chunk clamp clamp_max clamp_max_ clamp_min clamp_min_ clone contiguous copy_ cos
    cos_ cosh cosh_ cummax cummin data_ptr detach dim div div_ erf erf_ erfc erfc_ exp exp_ expand_as expm1 expm1_ fill_
    flatten flip fliplr flipud floor floor_ frac frac_ gather is_contiguous is_floating_point is_shared isfinite isnan
    isneginf isposinf isreal lerp lerp_ lgamma lgamma_ log10 log10_ log1p log1p_ log2 log2_ log_ logical_and logsumexp
    masked_fill masked_fill_ masked_select maximum mean minimum moveaxis movedim mul mul_ nanmean nansum narrow
    ndimension neg neg_ new_empty new_full new_ones new_tensor new_zeros norm numel permute pow pow_ prod quantile
    reciprocal reciprocal_ repeat_interleave reshape roll rot90 round_ scatter select set_ sigmoid sigmoid_ sign sign_
    sin sin_ sinh sinh_ softmax sqrt sqrt_ squeeze std sub sub_ sum swapdims tan tan_ tanh tanh_ tensor_split tile
    transpose trunc trunc_ unbind unflatten unsqueeze var zero_""".split()
)


def imports_of(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """(local name, qualified name) of each name an import binds. Relative modules keep their leading dots."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0], alias.name.split(".")[0])
        return
    start = "." * statement.level + (f"{statement.module}." if statement.module else "")
    for alias in statement.names:
        if alias.name != "*":
            yield alias.asname or alias.name, f"{start}{alias.name}"


def stars_of(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """The module whose names an `import *` takes over."""
    if isinstance(statement, ast.Import) or all(alias.name != "*" for alias in statement.names):
        return []
    return ["." * statement.level + (statement.module or "")]


def listed_in(tree: ast.Module) -> frozenset[str] | None:
    """The names in `__all__`; None where there is none, or it is no more than part of what is written there."""
    found: frozenset[str] | None = None
    for statement in tree.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if not isinstance(target, ast.Name) or target.id != "__all__":
            continue
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        parts = value.elts if isinstance(value, (ast.List, ast.Tuple)) else None
        if parts is None or not all(isinstance(part, ast.Constant) for part in parts):
            return None
        found = frozenset(str(part.value) for part in parts if isinstance(part, ast.Constant))
    return found


def spelling_of(tree: ast.Module, text: str) -> Spelling:
    """How this module spells torch, from its top-level imports."""
    bound: dict[str, str] = {}
    last = None
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            bound.update(imports_of(statement))
            last = statement.end_lineno
    by_name = {qualified: local for local, qualified in bound.items()}
    package = by_name.get("torch")
    functional = by_name.get("torch.nn.functional")
    if functional is None and "torch.nn" in by_name:
        functional = f"{by_name['torch.nn']}.functional"
    names = tuple((local, name) for local, name in bound.items() if name.startswith("torch.") and name.count(".") == 1)
    after = last if last is not None else _after_docstring(tree)
    return Spelling(package, functional, names, after, text)


def _after_docstring(tree: ast.Module) -> int:
    first = tree.body[0] if tree.body else None
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return (first.end_lineno or 0) if documented and first is not None else 0


@dataclass(frozen=True, slots=True)
class BodyNames:
    """What the body of a function tells before it runs."""

    local: frozenset[str]  # the names Python treats as local
    is_generator: bool  # calling the function doesn't run its body
    globals: frozenset[str] = frozenset()  # the names it says are the module's
    raises: bool = False  # a `raise` stands in it


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_NAMING = frozenset({*_DEFINITIONS, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal})


def body_names(node: Function) -> BodyNames:
    """Read the body of a function, without those of functions inside."""
    arguments = node.args
    names = {a.arg for a in named_of(arguments)}
    names |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None}
    if isinstance(node, ast.Lambda):
        return BodyNames(frozenset(names), False)
    foreign: set[str] = set()
    of_module: set[str] = set()
    kinds = set()
    for inner in nodes_of(node):
        kind = inner.__class__
        kinds.add(kind)
        if kind is ast.Name:
            if inner.ctx.__class__ is not ast.Load:  # type: ignore[attr-defined]
                names.add(inner.id)  # type: ignore[attr-defined]
        elif kind in _NAMING:
            if isinstance(inner, (ast.Import, ast.ImportFrom)):
                names.update(local for local, _ in imports_of(inner))
            elif isinstance(inner, (ast.Global, ast.Nonlocal)):
                foreign.update(inner.names)
                of_module.update(inner.names if isinstance(inner, ast.Global) else ())
            elif inner.name:  # type: ignore[attr-defined]  # of the others
                names.add(inner.name)  # type: ignore[attr-defined]
    yields = not kinds.isdisjoint((ast.Yield, ast.YieldFrom))
    raises = ast.Raise in kinds
    return BodyNames(frozenset(names - foreign), yields, frozenset(of_module), raises)


def stands_for_others(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a method only stands for those of subclasses: it raises, is `...`, or is said to be abstract."""
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    silent = all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and s.value.value is ... for s in body)
    raises = len(body) == 1 and isinstance(body[0], ast.Raise)
    return "abstractmethod" in marks or raises or (bool(body) and silent)


def is_other_annotation(annotation: ast.expr | None) -> bool:
    """True for an annotation that names a class of which nothing is known."""
    return annotation is not None and not (isinstance(annotation, ast.Name) and annotation.id in ("Any", "object"))


def tensors_alone(tensor_methods: frozenset[str], text: str) -> frozenset[str]:
    """Those of `tensor_methods` that nothing but a tensor has in a file of this text.

    Where it doesn't speak of NumPy or pandas, the methods that arrays have too, as `mean`, tell as much; where it
    speaks of tensordict, those that a TensorDict has too tell nothing.
    """
    alone = tensor_methods - _COMMON
    if "numpy" not in text and "pandas" not in text:
        alone |= _OF_ARRAYS
    return alone - _OF_TENSORDICTS if "tensordict" in text or "TensorDict" in text else alone


def shown_tensors(node: Function, telling: frozenset[str], may_be_method: Callable[[str, int], bool]) -> frozenset[str]:
    """Names a function uses in ways only tensors allow: `x.sigmoid()`, `x.requires_grad`; `telling`: the methods.

    `may_be_method` says of a name whether that method takes so many arguments: `xp.sigmoid(x)` tells nothing of `xp`.
    """
    found: set[str] = set()
    others: set[ast.expr] = set()  # what is called as no tensor's method can be; before what is in it
    for inner in nodes_of(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, (ast.Name, ast.BinOp)):
            name = inner.attr
            if inner not in others and (name in telling or name in ("requires_grad", "grad_fn", "is_leaf")):
                found.update(_only_operand(inner.value))
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            count = sum(not isinstance(argument, ast.Starred) for argument in inner.args)
            if count and not may_be_method(inner.func.attr, count):
                others.add(inner.func)
    return frozenset(found)


def used_as_tensors(
    scope: Function | ast.Module,
    methods: frozenset[str],
    attributes: frozenset[str],
    is_tensor: Callable[[ast.expr], bool],
) -> frozenset[str]:
    """Names used as arrays are, and never otherwise: `x.mean()`, `x[mask]` of a tensor `mask`.

    Of arrays, only tensors have a graph. `methods` and `attributes` are those of tensors.
    """
    found: set[str] = set()
    for node in nodes_of(scope):
        if (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in methods) or (
            isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and is_tensor(node.slice)
        ):
            found.add(node.value.id)
    return frozenset(found) - other_uses(scope, methods | attributes)


def other_uses(node: Function | ast.Module, tensor_names: frozenset[str]) -> frozenset[str]:
    """Names a function uses in ways that tensors don't allow: `config.width`, `layer(x)`, `batch["x"]`."""
    found: set[str] = set()
    for inner in nodes_of(node):
        held = getattr(inner, "func" if isinstance(inner, ast.Call) else "value", None)
        if not isinstance(held, ast.Name):
            continue
        if isinstance(inner, ast.Subscript):
            other = isinstance(inner.slice, ast.Constant) and isinstance(inner.slice.value, str)
        else:
            other = isinstance(inner, ast.Call) or (isinstance(inner, ast.Attribute) and inner.attr not in tensor_names)
        if other:
            found.add(held.id)
    return frozenset(found)


def _only_operand(node: ast.expr) -> frozenset[str]:
    """The name whose arithmetic with itself and numbers this is; nothing for any other expression."""
    names: set[str] = set()
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, ast.BinOp):
            stack += [part.left, part.right]
        elif isinstance(part, ast.UnaryOp):
            stack.append(part.operand)
        elif isinstance(part, ast.Name):
            names.add(part.id)
        elif not isinstance(part, ast.Constant):
            return frozenset()
    return frozenset(names) if len(names) == 1 else frozenset()


def trains_leaves_of_its_own(node: Function) -> bool:
    """True for a function that makes a leaf or an optimizer, and calls `backward` itself: its arguments are data."""
    if isinstance(node, ast.Lambda):
        return False
    calls = [inner for inner in nodes_of(node) if isinstance(inner, ast.Call)]
    called = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    made = any(
        k.arg == "requires_grad" and isinstance(k.value, ast.Constant) and k.value.value is True
        for call in calls
        for k in call.keywords
    )
    return "backward" in called and (made or not called.isdisjoint(("requires_grad_", "Parameter")))


def is_learnt(node: Function, name: str) -> bool:
    """True for an argument that a function asks for its gradient, or hands to an optimizer."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and inner.attr in ("grad", "requires_grad", "requires_grad_", "parameters"):
            if isinstance(inner.value, ast.Name) and inner.value.id == name:
                return True
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            optimizes = inner.func.attr[:1].isupper() or inner.func.attr == "grad"
            held = (part for argument in inner.args for part in ast.walk(argument)) if optimizes else ()
            if any(isinstance(part, ast.Name) and part.id == name for part in held):
                return True
    return False
