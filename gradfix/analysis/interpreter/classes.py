"""Classes of the file: what their bodies hold, what calling them makes, and what they take over from torch.nn."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.definitions import NAMED_TUPLES, ClassInfo
from gradfix.analysis.domain.holders import keep
from gradfix.analysis.domain.machine import Machine, Scope
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import NONE, Class, Const, Container, Instance, Layer, Number, Tensor, Value
from gradfix.analysis.interpreter import postponed
from gradfix.analysis.operators import nn_layers

_LAYER = "<layer>"  # the attribute that keeps what `super().__init__(…)` of a layer of torch.nn made


def instantiate(
    m: Machine, state: State, callee: Class, args: Sequence[Value], keywords: dict[str, Value], at: ast.AST
) -> Value:
    """Build an object of a class of this file."""
    made = Instance(callee.info)
    init = callee.info.method("__init__")
    if init is not None:
        postponed.construct(m, state, made, init, args, keywords, at)
        return made
    state.attributes[made] = {}
    keep(state, made, (*args, *keywords.values()))
    if _has_fields(callee.info):
        given = {**dict(zip(fields(callee.info), args, strict=False)), **keywords}
        around = m.scope if callee.frames[-1] == MODULE else Scope("<module>", callee.frames, None)
        with m.inside(around):
            left_out = _defaults(m, state, callee.info, given)
        state.attributes_of(made).update({**left_out, **given})
    elif isinstance(at, ast.Call):
        begin_layer(state, made, args, keywords, at)
    return made


def _has_fields(info: ClassInfo) -> bool:
    decorated = any("dataclass" in ast.unparse(d) for d in info.node.decorator_list if not isinstance(d, ast.Constant))
    inherited = any(isinstance(base, ClassInfo) and _has_fields(base) for base in info.bases)
    return decorated or inherited or info.derives_from(*NAMED_TUPLES)


def fields(info: ClassInfo) -> list[str]:
    """The annotated names of a dataclass or a named tuple, those of its bases first."""
    inherited = [name for base in info.bases if isinstance(base, ClassInfo) for name in fields(base)]
    own = [s.target.id for s in info.node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
    return list(dict.fromkeys([*inherited, *own]))


def _defaults(m: Machine, state: State, info: ClassInfo, given: dict[str, Value]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for base in info.bases:
        found.update(_defaults(m, state, base, given) if isinstance(base, ClassInfo) else {})
    for statement in info.node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        value = statement.value
        if value is None or statement.target.id in given:
            continue
        factory = _keyword(value, "default_factory")
        default = _keyword(value, "default")
        if factory is not None:
            found[statement.target.id] = m.call_value(state, m.evaluate(state, factory), [], {}, _call(factory))
        else:
            found[statement.target.id] = m.evaluate(state, value if default is None else default)
    return found


def _keyword(value: ast.expr, name: str) -> ast.expr | None:
    keywords = value.keywords if isinstance(value, ast.Call) else []
    return next((k.value for k in keywords if k.arg == name), None)


def _call(function: ast.expr) -> ast.Call:
    return ast.copy_location(ast.Call(function, [], []), function)


def items_of(state: State, instance: Instance) -> Items | None:
    """What iterating an object gives: the fields of a named tuple, the layers of a `Sequential` of its own class."""
    slots = state.slots(instance)
    if instance.info is not None and instance.info.derives_from(*NAMED_TUPLES):
        values = [slots.get(name) for name in fields(instance.info)]
        known = tuple(value for value in values if value is not None)
        return Items(known, True) if len(known) == len(values) else None
    held = slots.get(_LAYER)
    return state.items.get(held) if isinstance(held, Container) else None


def begin_layer(
    state: State, instance: Instance, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value:
    """`super().__init__(…)` in a class that extends a layer of torch.nn."""
    name = _layer_base(instance.info)
    if name is not None:
        state.attributes_of(instance)[_LAYER] = nn_layers.layer(state, name, args, keywords, at)
    return NONE


def layer_of(state: State, instance: Instance) -> Value | None:
    """The layer that an object is, beside what its class adds."""
    found = state.slots(instance).get(_LAYER)
    return found if isinstance(found, (Layer, Container)) else None


def add_layer(state: State, instance: Instance, name: str, module: Value) -> None:
    """`self.bn = …` and `self.add_module("bn", …)`: of an object that is a `Sequential`, one layer more."""
    slots = state.slots(instance)
    held = slots.get(_LAYER)
    items = state.items.get(held) if isinstance(held, Container) else None
    if items is None or isinstance(module, (Const, Number, Tensor)) or not isinstance(held, Container):
        return
    before = slots.get(name)
    if before is not None and any(item is before for item in items.values):
        layers = tuple(module if item is before else item for item in items.values)
        state.items[held] = Items(layers, items.exact, least=items.least)
    else:
        state.items[held] = Items((*items.values, module), items.exact, least=items.least + 1)


def _layer_base(info: ClassInfo | None) -> str | None:
    for base in info.bases if info is not None else ():
        if isinstance(base, ClassInfo):
            found = _layer_base(base)
        else:
            short = base.rsplit(".", 1)[-1]
            found = short if base.startswith("torch.nn.") and short != "Module" else None
        if found is not None:
            return found
    return None


def named_tuple(args: Sequence[Value], state: State) -> ClassInfo | None:
    """The class that `collections.namedtuple("State", "h c")` makes."""
    if len(args) < 2 or not isinstance(args[0], Const) or not isinstance(args[0].value, str):
        return None
    names: list[object] = []
    if isinstance(args[1], Const) and isinstance(args[1].value, str):
        names = list(args[1].value.replace(",", " ").split())
    elif isinstance(args[1], Const) and isinstance(args[1].value, tuple):
        names = list(args[1].value)
    elif isinstance(args[1], Container) and (items := state.items.get(args[1])) and items.exact:
        names = [value.value for value in items.values if isinstance(value, Const)]
    text = f"class {args[0].value}:\n" + "".join(f"    {name}: object\n" for name in names) + "    pass"
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.ClassDef)
    return ClassInfo(node, args[0].value, NAMED_TUPLES, {})
