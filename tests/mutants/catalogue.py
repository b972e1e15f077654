"""The mistakes a rewriting verb could make, each as a change of one statement that the verb wrote.

A mistake yields every way in which it can be made in a statement; none where it can't. The statements are `ast` trees.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Statements = list[ast.stmt]
Mistake = Callable[[ast.stmt, "Around"], Iterator[Statements]]
Swap = Callable[[ast.expr], "ast.expr | None"]


@dataclass(frozen=True, slots=True)
class Around:
    """What the mistaken verb has at hand."""

    names: tuple[str, ...]  # other tensors' names, as they stand in the text


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake under its name."""

    name: str
    make: Mistake


def parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def swapped(swap: Swap) -> Mistake:
    """The mistake of writing one expression for another, made at each place by itself."""

    def make(statement: ast.stmt, around: Around) -> Iterator[Statements]:
        nodes = [node for node in ast.walk(statement) if isinstance(node, ast.expr) and _is_read(node)]
        for number, node in enumerate(nodes):
            if swap(node) is not None:
                yield [_with(statement, number, swap)]

    return make


def assigned(template: str) -> Mistake:
    """The mistake of assigning `template`, with `V` for the value and `Y` for the target, in the value's place."""

    def make(statement: ast.stmt, around: Around) -> Iterator[Statements]:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and not _is_literal(statement.value):
            changed = copy.deepcopy(statement)
            value, target = ast.unparse(statement.value), ast.unparse(statement.targets[0])
            changed.value = parsed(template.replace("V", f"({value})").replace("Y", target))
            yield [changed]

    return make


def followed(template: str) -> Mistake:
    """The mistake of one statement too many after an assignment: `template` with the target for `Y`."""

    def make(statement: ast.stmt, around: Around) -> Iterator[Statements]:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            text = template.replace("Y", ast.unparse(statement.targets[0]))
            yield [statement, *ast.parse(text).body]

    return make


def method(name: str) -> Callable[[ast.expr], ast.Call | None]:
    """Recognises a call of the method or function `name`."""

    def find(node: ast.expr) -> ast.Call | None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
            return node
        return None

    return find


def _is_read(node: ast.expr) -> bool:
    return not isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, (ast.Constant, ast.Tuple, ast.List, ast.Dict))


def _with(statement: ast.stmt, number: int, swap: Swap) -> ast.stmt:
    changed = copy.deepcopy(statement)
    nodes = [node for node in ast.walk(changed) if isinstance(node, ast.expr) and _is_read(node)]
    new = swap(nodes[number])
    assert new is not None

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is nodes[number] else super().generic_visit(node)

    result = Replace().visit(changed)
    assert isinstance(result, ast.stmt)
    return ast.fix_missing_locations(result)


# -- single expressions ---------------------------------------------------------------------------------------------


def _without_cast(node: ast.expr) -> ast.expr | None:
    call = method("to")(node)
    return None if call is None else call.func.value  # type: ignore[attr-defined]


def _clone_to(template: str) -> Swap:
    def swap(node: ast.expr) -> ast.expr | None:
        call = method("clone")(node)
        return None if call is None else parsed(template.replace("Y", f"({ast.unparse(call.func.value)})"))  # type: ignore[attr-defined]

    return swap


def _argument(name: str, position: int, change: Callable[[ast.expr], ast.expr | None]) -> Swap:
    """A change of one argument of a call of `name`."""

    def swap(node: ast.expr) -> ast.expr | None:
        call = method(name)(node)
        if call is None or len(call.args) <= position or any(isinstance(a, ast.Starred) for a in call.args):
            return None
        new = change(call.args[position])
        if new is None:
            return None
        changed = copy.deepcopy(call)
        changed.args[position] = new
        return changed

    return swap


def _either(*swaps: Swap) -> Swap:
    def swap(node: ast.expr) -> ast.expr | None:
        return next((new for one in swaps if (new := one(node)) is not None), None)

    return swap


def _shifted(by: int) -> Callable[[ast.expr], ast.expr | None]:
    def change(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        return parsed(f"{ast.unparse(node)} + {by}") if by > 0 else parsed(f"{ast.unparse(node)} - {-by}")

    return change


def _shifted_tensor_index(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Tuple) and node.elts:
        return parsed("(" + ", ".join([f"{ast.unparse(node.elts[0])} - 1", *map(ast.unparse, node.elts[1:])]) + ",)")
    return None


def _reversed_indices(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Tuple) and len(node.elts) > 1:
        return parsed("(" + ", ".join(map(ast.unparse, reversed(node.elts))) + ",)")
    return None


def _written(template: str) -> Callable[[ast.expr], ast.expr]:
    return lambda node: parsed(template.replace("V", f"({ast.unparse(node)})"))


def _value_written(template: str) -> Swap:
    """A change of the value that a functional write puts in."""
    return _either(
        _argument("index_put", 1, _written(template)),
        _argument("select_scatter", 1, _written(template)),
        _argument("slice_scatter", 1, _written(template)),
        _argument("where", 1, _written(template)),
    )


def _accumulating(node: ast.expr) -> ast.expr | None:
    call = method("index_put")(node)
    if call is None:
        return None
    changed = copy.deepcopy(call)
    changed.keywords.append(ast.keyword("accumulate", ast.Constant(True)))
    return changed


def _where(change: Callable[[list[str]], str]) -> Swap:
    def swap(node: ast.expr) -> ast.expr | None:
        call = method("where")(node)
        if call is None or len(call.args) != 3:
            return None
        return parsed(change([f"({ast.unparse(arg)})" for arg in call.args]))

    return swap


def _unguarded(node: ast.expr) -> ast.expr | None:
    """`torch.where(c, x, 1.0)`, which keeps the branch not taken free of NaN, as `x`."""
    call = method("where")(node)
    if call is None or len(call.args) != 3:
        return None
    ones = [isinstance(arg, ast.Constant) and arg.value == 1.0 for arg in call.args]
    return call.args[1] if ones[2] else call.args[2] if ones[1] else None


def _operator(before: type[ast.operator], after: type[ast.operator]) -> Swap:
    def swap(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.BinOp) and isinstance(node.op, before):
            return ast.BinOp(node.left, after(), node.right)
        return None

    return swap


def _turned_round(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.Pow, ast.MatMult)):
        return ast.BinOp(node.right, node.op, node.left)
    return None


def _flattened(node: ast.expr) -> ast.expr | None:
    """`a * (b + c)` without its parentheses."""
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.BinOp):
        flat = parsed(f"{ast.unparse(node.left)} {_SIGNS[type(node.op)]} {ast.unparse(node.right)}")
        return None if ast.dump(flat) == ast.dump(node) else flat
    return None


def _comparison(node: ast.expr) -> ast.expr | None:
    kinds = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Eq: ast.NotEq}
    if isinstance(node, ast.Compare) and type(node.ops[0]) in kinds:
        return ast.Compare(node.left, [kinds[type(node.ops[0])]()], node.comparators)
    return None


def _other_function(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOOKALIKES:
        changed = copy.deepcopy(node)
        changed.func.attr = _LOOKALIKES[node.func.attr]  # type: ignore[attr-defined]
        return changed
    return None


def _without_argument(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.func, ast.Attribute):
        changed = copy.deepcopy(node)
        del changed.args[-1]
        return changed
    return None


def _without_keyword(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call) and node.keywords:
        changed = copy.deepcopy(node)
        del changed.keywords[0]
        return changed
    return None


def _other_constant(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return ast.Constant(node.value + 1)
    return None


def _unsigned(node: ast.expr) -> ast.expr | None:
    return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else None


def _unlinked(node: ast.expr) -> ast.expr | None:
    """A chain of methods that lost its last link."""
    inner = node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
    return inner if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) else None


_SIGNS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.Mod: "%",
    ast.FloorDiv: "//",
}
_LOOKALIKES = {
    "exp": "expm1",
    "sigmoid": "tanh",
    "tanh": "sigmoid",
    "relu": "abs",
    "mul": "add",
    "add": "mul",
    "sub": "add",
    "div": "mul",
    "masked_fill": "masked_fill_",
    "sum": "mean",
    "sqrt": "square",
    "abs": "neg",
    "clamp": "abs",
    "dropout": "alpha_dropout",
    "leaky_relu": "relu",
    "zeros_like": "ones_like",
    "fill_diagonal": "fill_diagonal_",
    "softmax": "log_softmax",
}


# -- whole statements -----------------------------------------------------------------------------------------------


def _dropped(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    yield [ast.Pass()]


def _twice(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    if isinstance(statement, ast.Assign):
        yield [statement, statement]


def _result_lost(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    """`y.index_put(…)` whose result nobody takes."""
    if isinstance(statement, ast.Assign):
        yield [ast.Expr(statement.value)]


def _stale_name(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    """The result goes to a new name, the readers keep the old one."""
    if isinstance(statement, ast.Assign):
        yield [ast.Assign([ast.Name("renewed", ast.Store())], statement.value, lineno=0)]


def _other_tensor(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    """What is read is another tensor of the program."""
    if not isinstance(statement, ast.Assign):
        return
    own = ast.unparse(statement.targets[0])
    for name in around.names:
        if name != own and name.isidentifier():
            swap = swapped(lambda node, n=name: parsed(n) if ast.unparse(node) == own else None)
            yield from swap(statement, around)


def _hoist_missing(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    """`value = e` before the clone is forgotten: the write computes `e` itself, from the clone."""
    value = _hoisted(statement, around)
    if value is not None and isinstance(statement, ast.Assign):
        yield [ast.Assign([ast.Name("value", ast.Store())], ast.Constant(0.0), lineno=0)]


def _hoisted(statement: ast.stmt, around: Around) -> str | None:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        name = statement.targets[0].id
        return name if name.endswith("value") else None
    return None


def _in_place_again(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    """The write stays a write."""
    if isinstance(statement, ast.Assign):
        target, value = ast.unparse(statement.targets[0]), ast.unparse(statement.value)
        yield ast.parse(f"{target}.copy_({value})").body


def _without_gradients(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    if isinstance(statement, ast.Assign):
        item = ast.withitem(parsed("torch.no_grad()"))
        yield [ast.With([item], [statement], lineno=0)]


def _only_on_one_side(statement: ast.stmt, around: Around) -> Iterator[Statements]:
    """The write happens only where the data are positive."""
    if isinstance(statement, ast.Assign):
        yield [ast.If(parsed(f"({ast.unparse(statement.targets[0])}).sum() > 0"), [statement], [])]


MUTANTS = tuple(
    Mutant(*row)
    for row in (
        # clones and hoists
        ("statement-missing", _dropped),
        ("clone-detached", swapped(_clone_to("Y.detach().clone()"))),
        ("clone-is-an-alias", swapped(_clone_to("Y"))),
        ("clone-through-data", swapped(_clone_to("Y.data.clone().requires_grad_()"))),
        ("clone-of-zeros", swapped(_clone_to("torch.zeros_like(Y)"))),
        ("clone-of-the-wrong-name", _other_tensor),
        ("hoist-missing", _hoist_missing),
        ("write-stays-in-place", _in_place_again),
        # names
        ("result-lost", _result_lost),
        ("stale-name", _stale_name),
        ("statement-twice", _twice),
        ("old-tensor-written-too", followed("Y.data.mul_(1.5)")),
        # indices
        ("slot-off-by-one", swapped(_either(_argument("select_scatter", 3, _shifted(-1))))),
        ("slice-starts-late", swapped(_argument("slice_scatter", 3, _shifted(1)))),
        ("slice-ends-early", swapped(_argument("slice_scatter", 4, _shifted(-1)))),
        (
            "wrong-dimension",
            swapped(_either(*(_argument(f, 2, _shifted(-1)) for f in ("select_scatter", "slice_scatter")))),
        ),
        ("index-off-by-one", swapped(_argument("index_put", 0, _shifted_tensor_index))),
        ("indices-reversed", swapped(_argument("index_put", 0, _reversed_indices))),
        ("accumulates", swapped(_accumulating)),
        # values put in
        ("value-detached", swapped(_value_written("V.detach()"))),
        ("value-negated", swapped(_value_written("-V"))),
        ("value-doubled", swapped(_value_written("V * 2"))),
        ("value-zero", swapped(_value_written("torch.zeros_like(V)"))),
        # choices
        ("where-arguments-swapped", swapped(_where(lambda a: f"torch.where({a[0]}, {a[2]}, {a[1]})"))),
        ("where-condition-inverted", swapped(_where(lambda a: f"torch.where(~{a[0]}, {a[1]}, {a[2]})"))),
        ("where-always-taken", swapped(_where(lambda a: f"torch.where({a[0]} | True, {a[1]}, {a[2]})"))),
        ("where-never-taken", swapped(_where(lambda a: f"torch.where({a[0]} & False, {a[1]}, {a[2]})"))),
        ("where-by-multiplication", swapped(_where(lambda a: f"({a[0]} * {a[1]} + ~{a[0]} * {a[2]})"))),
        ("nan-from-the-dead-branch", swapped(_unguarded)),
        ("comparison-slipped", swapped(_comparison)),
        ("only-where-positive", _only_on_one_side),
        # arithmetic
        ("plus-for-minus", swapped(_operator(ast.Sub, ast.Add))),
        ("minus-for-plus", swapped(_operator(ast.Add, ast.Sub))),
        ("divided-for-multiplied", swapped(_operator(ast.Mult, ast.Div))),
        ("multiplied-for-divided", swapped(_operator(ast.Div, ast.Mult))),
        ("operands-turned-round", swapped(_turned_round)),
        ("parentheses-lost", swapped(_flattened)),
        ("sign-lost", swapped(_unsigned)),
        ("constant-off-by-one", swapped(_other_constant)),
        # calls
        ("twin-of-another-method", swapped(_other_function)),
        ("argument-lost", swapped(_without_argument)),
        ("keyword-lost", swapped(_without_keyword)),
        ("link-of-the-chain-lost", swapped(_unlinked)),
        # dtype, shape
        ("cast-dropped", swapped(_without_cast)),
        ("wider-dtype", assigned("V.double()")),
        ("rounded-to-half", assigned("V.bfloat16().to(V.dtype)")),
        ("dimension-added", assigned("V.unsqueeze(0)")),
        ("dimension-kept-in-the-middle", assigned("V[None].mean(0, keepdim=True)")),
        # gradients alone: the values stay
        ("detached", assigned("V.detach()")),
        ("half-the-gradient", assigned("V.detach() + 0.5 * (V - V.detach())")),
        ("twice-the-gradient", assigned("V.detach() + 2 * (V - V.detach())")),
        ("gradient-of-the-wrong-sign", assigned("V.detach() - (V - V.detach())")),
        ("gradient-a-little-off", assigned("V.detach() + 1.001 * (V - V.detach())")),
        ("no-grad-around-it", _without_gradients),
        # values alone
        ("a-little-off", assigned("V * 1.0001")),
        ("clipped", assigned("V.clamp(-2, 2)")),
        ("absolute", assigned("V.abs()")),
        ("shifted", assigned("V + 1e-3")),
        ("nan-let-through", assigned("V / (V / V)")),
        # side effects
        ("draws-a-random-number", followed("torch.rand(())")),
        ("prints", followed("print(Y)")),
    )
)
