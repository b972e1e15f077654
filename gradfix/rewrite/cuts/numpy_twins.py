"""What NumPy computes, as operations of torch that compute the same."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from gradfix.analysis.facts import Spelling
from gradfix.analysis.text.builtin_names import builtin
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_literal_number
from gradfix.rewrite.text.pieces import atom, is_parenthesised, text_of
from gradfix.source import Source

_LEAVES = frozenset({"detach", "data", "cpu", "numpy", "clone", "contiguous"})
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
# Functions of NumPy and the ones of torch that give the same bits (measured on float32 and float64) …
EXACT = {"sqrt": "sqrt", "abs": "abs", "absolute": "abs", "fabs": "abs", "square": "square", "negative": "neg"}
# … and those that may differ in the last digit.
_CLOSE = {
    **{name: name for name in "exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh sum mean".split()},
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
}
_MAKERS = frozenset({"zeros", "ones", "empty"})
_FLOATING = {"float": "float64", "float64": "float64", "double": "float64", "float32": "float32", "single": "float32"}
_REDUCING = frozenset({"sum", "mean"})


@dataclass(frozen=True, slots=True)
class Twins:
    """Texts of expressions over arrays, computed from tensors."""

    source: Source
    spelling: Spelling
    arrays: frozenset[str] = frozenset()  # names of arrays that are tensors from now on
    numbers: frozenset[str] = frozenset()  # names of numbers
    floats: frozenset[str] = frozenset()  # names of arrays that are computed from what has a gradient
    filled: frozenset[str] = frozenset()  # names of arrays that are made first, and then filled
    lists: frozenset[str] = frozenset()  # names of lists of numbers that are lists of tensors from now on
    double: bool = True  # what NumPy makes of such lists is float64, and its dtype matters
    read_as: Mapping[str, str] = field(default_factory=dict)  # names of arrays, and of the tensors read instead

    def made(self, node: ast.expr) -> str | None:
        """`np.zeros(…)` as a tensor of the same dtype; None for all that isn't floating."""
        name = function_of(node)
        if not isinstance(node, ast.Call) or name not in _MAKERS or len(node.args) != 1:
            return None
        dtype = next((ast.unparse(k.value) for k in node.keywords if k.arg == "dtype"), "float")
        kind = _FLOATING.get(dtype.rpartition(".")[2].strip("'"))
        if kind is None or any(k.arg != "dtype" for k in node.keywords) or "set_default" in self.source.text:
            return None  # an array is on the CPU, whatever device is the default
        size = text_of(self.source, node.args[0])
        return f"{names.torch_name(self.spelling, name)}({size}, dtype={names.torch_name(self.spelling, kind)})"

    def put(self, node: ast.expr) -> str | None:
        """The value of `buffer[i] = …`, which torch casts as NumPy does."""
        number = number_behind(node)
        return self.whole(node) if number is None else text_of(self.source, number)

    def whole(self, node: ast.expr) -> str | None:
        """`node`, computed from tensors, where nothing beside it binds closer than it does."""
        tensor = tensor_behind(node)
        if tensor is None or _copied(node) or tensor.lineno != tensor.end_lineno:
            return self.text(node)
        return text_of(self.source, tensor)

    def text(self, node: ast.expr) -> str | None:
        """`node`, computed from tensors instead of arrays; None where that isn't known to be equal."""
        tensor = tensor_behind(node)
        if tensor is not None:
            return atom(self.source, tensor) + _copied(node)
        number = number_behind(node) if self.filled else None
        if number is not None:
            return atom(self.source, number)
        if isinstance(node, ast.Name) and node.id in self.lists:
            return f"{names.torch_name(self.spelling, 'stack')}({node.id})" + ".double()" * self.double
        if isinstance(node, ast.Name) and node.id in self.read_as:
            return self.read_as[node.id]
        if is_literal_number(node) or (isinstance(node, ast.Name) and node.id in self.arrays | self.numbers):
            return text_of(self.source, node)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in self.filled:
            return text_of(self.source, node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self.text(node.operand)
            return None if inner is None else f"-{self._grouped(node.operand, inner)}"
        if isinstance(node, ast.BinOp):
            return self._binary(node)
        if isinstance(node, ast.Subscript):
            inner = self.operand(node.value) if _is_basic(node.slice) else None
            return None if inner is None else f"{inner}[{text_of(self.source, node.slice)}]"
        return self._call(node) if isinstance(node, ast.Call) else None

    def operand(self, node: ast.expr) -> str | None:
        """The same, fit for what binds closer than operators do."""
        made = self.text(node)
        simple = isinstance(node, (ast.Name, ast.Call, ast.Subscript)) or is_literal_number(node)
        return made if made is None or simple else f"({made})"

    def _call(self, node: ast.Call) -> str | None:
        name = function_of(node)
        if name is None:
            return self._method(node)
        if name == "clip":
            return self._clamped(node)
        if name in ("array", "asarray"):
            return self.text(node.args[0]) if self._is_list(node.args) and not node.keywords else None
        if name in _REDUCING and self._is_list(node.args) and not node.keywords:
            return f"{self.text(node.args[0])}.{name}()"
        twin = EXACT.get(name) or _CLOSE.get(name)
        if twin is None or len(node.args) != 1 or not _axes_only(node, name):
            return None
        inner = self.whole(node.args[0])
        if inner is None or self._is_number(node.args[0]) or (twin == "mean" and not self._is_float(node.args[0])):
            return None
        return f"{names.torch_name(self.spelling, twin)}({inner}{self._axes(node)})"

    def _is_list(self, arguments: list[ast.expr]) -> bool:
        return len(arguments) == 1 and isinstance(arguments[0], ast.Name) and arguments[0].id in self.lists

    def _method(self, node: ast.Call) -> str | None:
        """`array.sum(axis=0)`."""
        of = node.func.attr if isinstance(node.func, ast.Attribute) and not node.args else ""
        if of not in _REDUCING or not isinstance(node.func, ast.Attribute) or not _axes_only(node, of):
            return None
        inner = None if self._is_number(node.func.value) else self.operand(node.func.value)
        if of == "mean" and not self._is_float(node.func.value):
            return None
        return None if inner is None else f"{inner}.{of}({self._axes(node).removeprefix(', ')})"

    def _clamped(self, node: ast.Call) -> str | None:
        bounded = len(node.args) == 3 and not node.keywords and all(map(is_literal_number, node.args[1:]))
        inner = self.whole(node.args[0]) if bounded and not self._is_number(node.args[0]) else None
        bounds = ", ".join(text_of(self.source, bound) for bound in node.args[1:])
        return None if inner is None else f"{names.torch_name(self.spelling, 'clamp')}({inner}, {bounds})"

    def _axes(self, node: ast.Call) -> str:
        return "".join(f", dim={text_of(self.source, k.value)}" for k in node.keywords)

    def _binary(self, node: ast.BinOp) -> str | None:
        power = isinstance(node.op, ast.Pow) and is_literal_number(node.right)
        if not (isinstance(node.op, _OPERATORS) or power):
            return None
        left, right = self.text(node.left), self.text(node.right)
        if left is None or right is None or (self._is_number(node.left) and self._is_number(node.right)):
            return None
        between = self.source.text[self.source.span_of(node.left).end : self.source.span_of(node.right).start]
        symbol = between.strip("() \t\r\n\\")
        space = " " if between.strip("()").startswith((" ", "\n", "\\")) else ""
        return f"{self._grouped(node.left, left)}{space}{symbol}{space}{self._grouped(node.right, right)}"

    def _grouped(self, node: ast.expr, text: str) -> str:
        grouped = isinstance(node, (ast.BinOp, ast.UnaryOp)) and is_parenthesised(self.source, node)
        return f"({text})" if grouped else text

    def _is_number(self, node: ast.expr) -> bool:
        """Whether no tensor goes into it."""
        inside = [inner for inner in ast.walk(node) if isinstance(inner, ast.expr)]
        of_arrays = any(isinstance(inner, ast.Name) and inner.id in self.arrays | self.lists for inner in inside)
        of_numbers = self.filled and any(number_behind(inner) is not None for inner in inside)
        return not of_arrays and not of_numbers and all(tensor_behind(inner) is None for inner in inside)

    def _is_float(self, node: ast.expr) -> bool:
        """Whether what has a gradient goes into it: of integers torch has no mean."""
        return comes_from_gradients(node, self.floats | self.lists)


def comes_from_gradients(node: ast.expr, floats: Set[str]) -> bool:
    """Whether an array that something was detached for goes into an expression, as it is or by one of these names."""
    inside = [inner for inner in ast.walk(node) if isinstance(inner, ast.expr)]
    named = any(isinstance(inner, ast.Name) and inner.id in floats for inner in inside)
    cut = (step for inner in inside if tensor_behind(inner) is not None for step, _ in _steps(inner))
    return named or any(step in ("detach", "data") for step in cut)


def function_of(node: ast.AST) -> str | None:
    """The name of a call `np.sqrt(…)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    return node.func.attr if isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "numpy") else None


def tensor_behind(node: ast.expr) -> ast.expr | None:
    """`x` of `x.detach().cpu().numpy()`."""
    steps = list(_steps(node))
    if not steps or steps[0][0] != "numpy":
        return None
    return steps[-1][1]


def number_behind(node: ast.expr) -> ast.expr | None:
    """`x` of `x.item()` and `float(x)`."""
    if not isinstance(node, ast.Call) or node.keywords:
        return None
    if isinstance(node.func, ast.Attribute) and node.func.attr == "item" and not node.args:
        return node.func.value
    is_float = builtin(node.func) == "float" and len(node.args) == 1
    return node.args[0] if is_float else None


def is_maker(node: ast.expr) -> bool:
    """Whether it makes an array to be filled."""
    return function_of(node) in _MAKERS


def is_copied(array: ast.expr) -> bool:
    """Whether the array has memory of its own: that of `x.detach().clone().numpy()`."""
    return bool(_copied(array))


def _copied(array: ast.expr) -> str:
    """What keeps the memory of an array its own, where it is."""
    return next((f".{step}()" for step, _ in _steps(array) if step in ("clone", "contiguous")), "")


def _steps(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The methods that lead from a tensor to its array, last first, with what each is called on."""
    while True:
        call = isinstance(node, ast.Call) and not node.args and not node.keywords
        inner = node.func if isinstance(node, ast.Call) and call else node
        if not isinstance(inner, ast.Attribute) or inner.attr not in _LEAVES or (inner.attr == "data") == call:
            return
        yield inner.attr, inner.value
        node = inner.value


def _axes_only(call: ast.Call, name: str) -> bool:
    return all(k.arg == "axis" for k in call.keywords) and (not call.keywords or name in _REDUCING)


def _is_basic(index: ast.expr) -> bool:
    """Numbers and slices of them that don't go backwards: what torch and NumPy take alike, and as views."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    return all(_is_whole(part) or _is_forward(part) for part in parts)


def _is_forward(part: ast.expr) -> bool:
    if isinstance(part, ast.Constant):
        return part.value is None or part.value is ...
    step = part.step if isinstance(part, ast.Slice) else None
    bounds = [part.lower, part.upper] if isinstance(part, ast.Slice) else []
    forward = step is None or (isinstance(step, ast.Constant) and isinstance(step.value, int) and step.value > 0)
    return isinstance(part, ast.Slice) and forward and all(one is None or _is_whole(one) for one in bounds)


def _is_whole(part: ast.expr) -> bool:
    inner = part.operand if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub) else part
    return isinstance(inner, ast.Constant) and type(inner.value) is int
