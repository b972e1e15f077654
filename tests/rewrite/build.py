"""Facts made by hand: what the analysis would say of one statement of a snippet."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from gradfix import edits
from gradfix.analysis.facts import (
    BackwardCall,
    ConditionalFill,
    ConditionKind,
    IndexItem,
    IndexKind,
    Obstacle,
    Spelling,
    TensorFacts,
    Tracked,
    ValueFacts,
    ValueKind,
    Write,
    WriteForm,
)
from gradfix.findings import Applicability, Hazard, Place, Refusal, Rewrite, Severity
from gradfix.rewrite import connect_branch, rebind
from gradfix.source import Source

TORCH = Spelling("torch", "F", (), 1)
NUMBER = ValueFacts(ValueKind.NUMBER, number_type="float")
SOMETHING = ValueFacts(ValueKind.UNKNOWN)
NOTHING = ValueFacts(ValueKind.NOTHING)


def tensor(*shape: int | None, dtype: str | None = None, tracked: Tracked = Tracked.YES) -> TensorFacts:
    """Facts of a tensor of known rank."""
    return TensorFacts(tracked=tracked, dtype=dtype, shape=shape)


def value(*shape: int | None, dtype: str | None = None, same_dtype: bool = False) -> ValueFacts:
    """Facts of a tensor that is written."""
    return ValueFacts(ValueKind.TENSOR, tensor(*shape, dtype=dtype), same_dtype=same_dtype)


@dataclass(frozen=True, slots=True)
class Case:
    """A snippet and the write in it."""

    source: Source
    write: Write
    spelling: Spelling

    def rewrites(self) -> tuple[Rewrite, ...]:
        """What `rebind` offers; fails when it refuses."""
        made = rebind(self.source, self.write, self.spelling)
        assert not isinstance(made, Refusal), made
        return made

    def refusal(self) -> Refusal:
        """Why `rebind` refuses, or why every fix it offers refuses when built."""
        made = rebind(self.source, self.write, self.spelling)
        if isinstance(made, Refusal):
            return made
        built = [rewrite.build(self.source) for rewrite in made]
        refusals = [result for result in built if isinstance(result, Refusal)]
        assert len(refusals) == len(built), self.texts()
        return refusals[0]

    def texts(self) -> list[str]:
        """The whole text after each fix that can be built, best first; every one parses."""
        texts = []
        for rewrite in self.rewrites():
            built = rewrite.build(self.source)
            if not isinstance(built, Refusal):
                texts.append(edits.apply(self.source.text, built))
                ast.parse(texts[-1])
        return texts

    def best(self) -> str:
        """The text after the best fix that can be built."""
        return self.texts()[0]

    def clone(self) -> str:
        """The text after the clone form."""
        return self.texts()[-1]

    def applicability(self) -> Applicability:
        """Of the best fix."""
        return self.rewrites()[0].applicability


def case(
    text: str,
    *,
    at: str | None = None,
    nth: int = 0,
    facts: TensorFacts | None = None,
    written: ValueFacts | None = None,
    kinds: Mapping[str, IndexItem | IndexKind] | None = None,
    obstacles: tuple[Obstacle, ...] = (),
    hazards: tuple[Hazard, ...] = (),
    holder: str | None = None,
    spelling: Spelling = TORCH,
) -> Case:
    """The write whose text is `at` (default: the only one) in `text`; `kinds` tells of index items by their text."""
    source = Source.from_text("case.py", text)
    tree = ast.parse(text)
    found = [
        w for w in _writes(tree) if at is None or ast.unparse(w.node) == ast.unparse(ast.parse(at.strip())).strip()
    ]
    assert found, f"no write like {at!r}"
    raw = found[nth]
    write = _write(raw, facts or TensorFacts(tracked=Tracked.YES), written or _guess(raw.value), kinds or {}, obstacles)
    write = replace(write, severity=Severity.ERROR, hazards=hazards)
    if holder is not None:
        write = replace(write, holder=_part(write.target, holder))
    return Case(source, write, spelling)


@dataclass(frozen=True, slots=True)
class _Raw:
    form: WriteForm
    node: ast.AST
    statement: ast.stmt
    target: ast.expr
    index: tuple[ast.expr, ...]
    value: ast.expr | None
    operator: str | None = None
    method: str | None = None


def _writes(tree: ast.Module) -> Iterator[_Raw]:
    for statement in (node for node in ast.walk(tree) if isinstance(node, ast.stmt)):
        yield from _assignments(statement)
        for node in _own_expressions(statement):
            if isinstance(node, ast.Call):
                yield from _calls(statement, node)


def _assignments(statement: ast.stmt) -> Iterator[_Raw]:
    if isinstance(statement, ast.AugAssign):
        operator = f"{_OPERATORS[type(statement.op)]}="
        target = statement.target
        if isinstance(target, ast.Subscript) and not _is_string(target.slice):
            index = _elements(target.slice)
            form = WriteForm.AUGMENTED_INDEX
            yield _Raw(form, statement, statement, target.value, index, statement.value, operator)
        else:
            yield _Raw(WriteForm.AUGMENTED, statement, statement, target, (), statement.value, operator)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in (inner for outer in targets for inner in ast.walk(outer)):
            if isinstance(target, ast.Subscript) and isinstance(target.ctx, ast.Store):
                index = _elements(target.slice)
                yield _Raw(WriteForm.INDEX, statement, statement, target.value, index, statement.value)


def _calls(statement: ast.stmt, call: ast.Call) -> Iterator[_Raw]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    flagged = any(keyword.arg == "inplace" for keyword in call.keywords)
    of_package = isinstance(call.func, ast.Name) or ast.unparse(call.func).split(".")[0] in ("torch", "F", "th")
    if flagged or name == "act":
        yield _Raw(WriteForm.FLAG, call, statement, call.args[0], (), None, method=name)
    elif name.endswith("_") and of_package:
        yield _Raw(WriteForm.FUNCTION, call, statement, call.args[0], (), (call.args[1:] or [None])[0], method=name)
    elif name.endswith("_") and isinstance(call.func, ast.Attribute):
        first = call.args[0] if call.args else None
        yield _Raw(WriteForm.METHOD, call, statement, call.func.value, (), first, method=name)


def _own_expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    waiting = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, ast.stmt)]
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]


def _elements(index: ast.expr) -> tuple[ast.expr, ...]:
    return tuple(index.elts) if isinstance(index, ast.Tuple) else (index,)


def _item(node: ast.expr, kinds: Mapping[str, IndexItem | IndexKind]) -> IndexItem:
    told = kinds.get(ast.unparse(node))
    if isinstance(told, IndexItem):
        return IndexItem(told.kind, node, told.value, told.rank, is_tensor=told.is_tensor)
    if told is not None:
        return IndexItem(told, node)
    if isinstance(node, ast.Slice):
        return IndexItem(IndexKind.SLICE, node)
    try:
        constant = ast.literal_eval(node)
    except ValueError:
        return IndexItem(IndexKind.UNKNOWN, node)
    if type(constant) is int:
        return IndexItem(IndexKind.INT, node, constant)
    known = {type(None): IndexKind.NONE, type(...): IndexKind.ELLIPSIS, list: IndexKind.TENSOR, bool: IndexKind.BOOL}
    return IndexItem(known.get(type(constant), IndexKind.UNKNOWN), node)


def _guess(value: ast.expr | None) -> ValueFacts:
    if value is None:
        return NOTHING
    try:
        constant = ast.literal_eval(value)
    except ValueError:
        return SOMETHING
    return ValueFacts(ValueKind.NUMBER, number_type=type(constant).__name__)


def _part(expression: ast.expr, text: str) -> ast.expr:
    return next(n for n in ast.walk(expression) if isinstance(n, ast.expr) and ast.unparse(n) == text)


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}


@dataclass(frozen=True, slots=True)
class Branch:
    """A snippet and the branch in it that alone connects a buffer."""

    source: Source
    fill: ConditionalFill
    spelling: Spelling

    def rewrites(self) -> tuple[Rewrite, ...]:
        """What `connect_branch` offers; fails when it refuses."""
        made = connect_branch(self.source, self.fill, self.spelling)
        assert not isinstance(made, Refusal), made
        return made

    def refusal(self) -> Refusal:
        """Why `connect_branch` refuses."""
        made = connect_branch(self.source, self.fill, self.spelling)
        assert isinstance(made, Refusal), made
        return made

    def texts(self) -> list[str]:
        """The whole text after each fix that can be built, best first; every one parses."""
        texts = []
        for rewrite in self.rewrites():
            built = rewrite.build(self.source)
            if not isinstance(built, Refusal):
                texts.append(edits.apply(self.source.text, built))
                ast.parse(texts[-1])
        return texts

    def best(self) -> str:
        """The text after the best fix that can be built."""
        return self.texts()[0]


def branch(
    text: str,
    *,
    buffer: TensorFacts | None = None,
    written: ValueFacts | None = None,
    sources: tuple[str, ...] = ("x",),
    condition: ConditionKind = ConditionKind.TENSOR,
    only_connection: bool = True,
    kinds: Mapping[str, IndexItem | IndexKind] | None = None,
    obstacles: tuple[Obstacle, ...] = (),
) -> Branch:
    """The first `if` of `text`, with all tensor writes in it; the buffer is what the first of them writes."""
    source = Source.from_text("case.py", text)
    tree = ast.parse(text)
    node = next(node for node in ast.walk(tree) if isinstance(node, ast.If))
    facts = buffer or tensor(3, dtype="float32", tracked=Tracked.NO)
    writes = tuple(
        _write(raw, facts, written or _guess(raw.value), kinds or {}, obstacles)
        for raw in _writes(tree)
        if any(inner is raw.statement for inner in ast.walk(node))
    )
    place = Place(source.span_of(node.test), "")
    fill = ConditionalFill(
        branch=node,
        function="f",
        identity_ordinal=0,
        buffer=writes[0].target,
        created=place,
        writes=writes,
        condition=condition,
        only_connection=only_connection,
        tensor=facts,
        severity=Severity.WARNING,
        hazards=(),
        sources=sources,
    )
    return Branch(source, fill, TORCH)


def _write(
    raw: _Raw,
    facts: TensorFacts,
    written: ValueFacts,
    kinds: Mapping[str, IndexItem | IndexKind],
    obstacles: tuple[Obstacle, ...],
) -> Write:
    return Write(
        form=raw.form,
        node=raw.node,
        statement=raw.statement,
        function="f",
        identity_ordinal=0,
        target=raw.target,
        index=tuple(_item(node, kinds) for node in raw.index),
        value=raw.value,
        operator=raw.operator,
        method=raw.method,
        tensor=facts,
        written=written,
        severity=Severity.INFO,
        hazards=(),
        obstacles=obstacles,
    )


def backward(text: str, *, shape: tuple[int | None, ...] | None = (3,)) -> tuple[Source, BackwardCall]:
    """The only call of `backward` in `text`, on a tensor of several elements."""
    source = Source.from_text("case.py", text)
    for statement in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)):
        for node in _own_expressions(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                method = ast.unparse(node.func.value) != "torch.autograd"
                root = node.func.value if method else node.args[0]
                facts = TensorFacts(tracked=Tracked.YES, shape=shape)
                return source, BackwardCall(node, statement, "f", 0, root, facts, False, Severity.ERROR, ())
    raise AssertionError("no call of backward")
