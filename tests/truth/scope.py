"""What a program being written knows: its lines, its names with their shapes, and expressions of a wanted shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random

from .vocabulary import BINARY, REDUCTIONS, UNARY, Unary

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Var:
    """A readable expression that holds a tensor."""

    text: str  # "y", "st.h", "cache['h']"
    shape: Shape
    dtype: str = "float"  # "float" (torch's default), "double", "half", "int", "bool"
    positive: bool = False  # its values are, as far as its maker goes
    leaf: bool = False

    @property
    def is_name(self) -> bool:
        return self.text.isidentifier()

    @property
    def floating(self) -> bool:
        return self.dtype in ("float", "double", "half")


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression and whether an operator may stand beside it without parentheses."""

    text: str
    atomic: bool = True

    @property
    def operand(self) -> str:
        return self.text if self.atomic else f"({self.text})"


@dataclass(slots=True)
class Scope:
    """One body being written: the module's or a function's."""

    random: Random
    lines: list[str]
    depth: int = 0
    names: list[Var] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    helpers: list[Helper] = field(default_factory=list)
    in_function: bool = False
    indices: list[str] = field(default_factory=list)  # loop counters in scope

    # -- lines ----------------------------------------------------------------------------------------------

    def put(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    @contextmanager
    def block(self, head: str, *, keep: bool = False) -> Iterator[None]:
        """A compound statement; names first bound in it are gone after it unless `keep`, so are its renamings."""
        self.put(head)
        before = list(self.names)
        self.depth += 1
        length = len(self.lines)
        yield
        if len(self.lines) == length:
            self.put("pass")
        self.depth -= 1
        if not keep:
            texts = {var.text for var in before}
            now = {var.text: var for var in self.names}
            self.names = [now[var.text] if now.get(var.text, var).shape == var.shape else var for var in before]
            self.names = [var for var in self.names if var.text in texts and var.text in now]

    # -- names ----------------------------------------------------------------------------------------------

    def fresh(self, stems: Sequence[str] = ("y", "h", "z", "a", "b", "u", "out", "s", "q")) -> str:
        stem = self.random.choice(stems)
        name, number = stem, 1
        while name in self.taken:
            number += 1
            name = f"{stem}{number}"
        self.taken.add(name)
        return name

    def bind(self, var: Var) -> Var:
        """`var` is what its text means from now on; what was reached through the old one stays as text."""
        self.taken.add(var.text)
        self.names = [other for other in self.names if other.text != var.text]
        self.names.append(var)
        return var

    def forget(self, text: str) -> None:
        self.names = [var for var in self.names if var.text != text]

    def floats(self) -> list[Var]:
        return [var for var in self.names if var.floating]

    def pick(self, among: Sequence[Var] | None = None) -> Var:
        """A name, the newer the likelier."""
        pool = list(self.floats() if among is None else among)
        weights = [1 + 2 * place for place in range(len(pool))]
        return self.random.choices(pool, weights)[0]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    # -- expressions ----------------------------------------------------------------------------------------

    def number(self) -> str:
        return self.random.choice(["0.0", "1.0", "2.0", "0.5", "-1.0", "3", "0", "10.0"])

    def expr(self, shape: Shape, depth: int = 1) -> Expr:
        """A float expression of that shape that reads names in scope."""
        same = [var for var in self.floats() if var.shape == shape]
        roll = self.random.random()
        if same and (depth <= 0 or roll < 0.3):
            return Expr(self.pick(same).text)
        if depth > 0 and roll < 0.6:
            return self.unary(self.expr_var(shape, depth - 1), len(shape))
        if depth > 0 and roll < 0.85:
            return self.binary(shape, depth - 1)
        made = self._by_shape(shape)
        if made is not None:
            return made
        if same:
            return Expr(self.pick(same).text)
        return Expr(f"torch.randn({_args(shape)})" if shape else "torch.randn(())")

    def expr_var(self, shape: Shape, depth: int) -> Var:
        """An expression as an operand; knows whether it is positive."""
        same = [var for var in self.floats() if var.shape == shape]
        if same and (depth <= 0 or self.chance(0.7)):
            return self.pick(same)
        return Var(self.expr(shape, depth).operand, shape)

    def unary(self, operand: Var, rank: int, kind: str | None = None) -> Expr:
        chosen = kind or self.random.choice(["result", "result", "input", "input", "both", "nothing"])
        fits = [op for op in UNARY[chosen] if op.rank <= rank and (op.domain == "any" or operand.positive)]
        return apply(self.random.choice(fits), operand.text)

    def unary_op(self, operand: Var, kind: str | None = None) -> tuple[Expr, bool]:
        """The same with whether the result is positive."""
        chosen = kind or self.random.choice(["result", "result", "input", "input", "both", "nothing", "nothing"])
        rank = len(operand.shape)
        fits = [op for op in UNARY[chosen] if op.rank <= rank and (op.domain == "any" or operand.positive)]
        op = self.random.choice(fits)
        return apply(op, operand.text), op.positive

    def binary(self, shape: Shape, depth: int) -> Expr:
        left = self.expr(shape, depth)
        right = self._broadcast(shape, depth)
        text = self.random.choice(BINARY).format(a=left.operand, b=right.operand)
        return Expr(text, text.endswith(")") and text.startswith(("torch.", "F.")))

    def scalar_of(self, var: Var) -> Expr:
        """A reduction of a name to zero dimensions."""
        if not var.shape:
            return Expr(var.text)
        text = self.random.choice(REDUCTIONS).format(a=var.text)
        return Expr(text)

    def condition(self) -> str:
        """A Python condition on data."""
        var = self.pick()
        low = self.random.choice(["0", "0.0", "0.3", "-0.2"])
        if not var.shape:
            return f"{var.text} > {low}"
        if var.shape and self.chance(0.5):
            zeros = ", ".join("0" for _ in var.shape)
            tail = self.random.choice(["", ".item()"])
            return f"{var.text}[{zeros}]{tail} > {low}"
        return self.random.choice([f"{var.text}.sum() > {low}", f"{var.text}.mean().item() < {low}"])

    def mask(self, shape: Shape) -> str | None:
        """A bool expression of that shape."""
        bools = [var for var in self.names if var.dtype == "bool" and var.shape == shape]
        if bools and self.chance(0.6):
            return self.random.choice(bools).text
        same = [var for var in self.floats() if var.shape == shape]
        if not same:
            return None
        var = self.pick(same)
        return f"{var.text} {self.random.choice(['> 0', '< 0', '> 0.5', '>= 0.1'])}"

    def _broadcast(self, shape: Shape, depth: int) -> Expr:
        if shape and self.chance(0.15):
            return self.expr(shape[1:], depth)
        if shape and self.chance(0.1):
            return self.expr((), depth)
        return self.expr(shape, depth)

    def _by_shape(self, shape: Shape) -> Expr | None:
        """Made of names of other shapes: reductions, views, products, stacks."""
        found: list[Expr] = []
        for var in self.floats():
            found += _shrunk(var, shape, self.random)
        if len(shape) == 2:
            found += _products(self.floats(), shape)
        if shape and shape[0] <= 3:
            rows = [var.text for var in self.floats() if var.shape == shape[1:]]
            if rows:
                parts = ", ".join(self.random.choice(rows) for _ in range(shape[0]))
                found.append(Expr(f"torch.stack([{parts}])"))
        return self.random.choice(found) if found else None


@dataclass(frozen=True, slots=True)
class Helper:
    """A function of the program: what to call and with which shape."""

    name: str
    shape: Shape
    result: Shape | None  # None: it returns nothing
    arguments: int = 1


def apply(op: Unary, operand: str) -> Expr:
    text = op.template.format(a=operand)
    return Expr(text, op.template.startswith(("{a}.", "torch.", "F.", "nn.")) and text.endswith(")"))


def typed(var: Var, **changes: object) -> Var:
    return replace(var, **changes)  # type: ignore[arg-type]


def _shrunk(var: Var, shape: Shape, random: Random) -> list[Expr]:
    found = []
    if shape == () and var.shape:
        found.append(Expr(random.choice(REDUCTIONS).format(a=var.text)))
    if 0 in var.shape:
        return found  # there is nothing to take
    if var.shape[1:] == shape and var.shape:
        index = random.randrange(var.shape[0])
        found += [Expr(f"{var.text}[{index}]"), Expr(f"{var.text}.sum(0)"), Expr(f"{var.text}.mean(dim=0)")]
    if len(var.shape) == 2 and shape == (var.shape[0],):
        found += [Expr(f"{var.text}[:, {random.randrange(var.shape[1])}]"), Expr(f"{var.text}.sum(-1)")]
    if len(var.shape) == 2 and shape == (var.shape[1], var.shape[0]):
        found.append(Expr(f"{var.text}.t()"))
    return found


def _products(names: Sequence[Var], shape: Shape) -> list[Expr]:
    found = []
    for left in names:
        for right in names:
            if (len(left.shape), len(right.shape)) != (2, 2) or left.dtype != right.dtype:
                continue
            if (left.shape[0], right.shape[1]) == shape and left.shape[1] == right.shape[0]:
                found += [Expr(f"({left.text} @ {right.text})"), Expr(f"torch.matmul({left.text}, {right.text})")]
            if (left.shape[0], right.shape[0]) == shape and left.shape[1] == right.shape[1]:
                found.append(Expr(f"F.linear({left.text}, {right.text})"))
    return found


def _args(shape: Shape) -> str:
    return ", ".join(str(size) for size in shape)
