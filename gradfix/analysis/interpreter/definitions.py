"""Functions and classes of the file as values, and the contexts and decorators that switch gradients."""

from __future__ import annotations

import ast

from gradfix.analysis.domain import grad_modes
from gradfix.analysis.domain.definitions import ClassInfo, FunctionInfo
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NONE, Class, Const, Function, Instance, Partial, Symbol, Value
from gradfix.analysis.facts import Tracked
from gradfix.analysis.imports import Described
from gradfix.analysis.interpreter.expressions import defaults, evaluate
from gradfix.analysis.operators import transforms


def switch_among(m: Machine, state: State, decorators: list[ast.expr]) -> tuple[ast.expr, Tracked] | None:
    """The innermost that sets the grad mode, and what it sets: `@torch.no_grad()`, `@torch.enable_grad`, aliases."""
    for decorator in reversed(decorators):
        bare = decorator.func if isinstance(decorator, ast.Call) else decorator
        value = evaluate(m, state, bare) if isinstance(bare, (ast.Name, ast.Attribute)) else None
        if bare is not decorator and isinstance(value, Symbol) and value.name in grad_modes.MODES:
            value = evaluate(m, state, decorator)
        mode = None if value is None else grad_modes.mode_under(value)
        if mode is not None:
            return decorator, mode
    return None


def switched_elsewhere(m: Machine, state: State, function: ast.expr) -> Tracked | None:
    """The grad mode under a decorator or context manager of another file of the project; None where it sets none."""
    if m.imports is None or not isinstance(function, (ast.Name, ast.Attribute)):
        return None
    value = evaluate(m, state, function)
    if not isinstance(value, Symbol) or value.name.startswith("torch."):
        return None
    switch = m.imports.switches(value.name)
    return Tracked.NO if switch == "off" else Tracked.MAYBE if switch else None


def function(m: Machine, state: State, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Value:
    """A `def` as a value; its defaults are evaluated now, as Python does."""
    info = FunctionInfo(node, qualified(m, node.name))
    m.defined.functions[info] = (m.scope.frames, None)
    m.defined.closed[info] = _closed(m, state, info)
    made = _decorated(m, state, m.defined.closed[info], node.decorator_list)
    return _transformed(m, state, made, node.decorator_list)


def _transformed(m: Machine, state: State, made: Function, decorators: list[ast.expr]) -> Value:
    """What `@torch.func.grad` and `@partial(torch.func.grad, argnums=1)` make of it, alone."""
    decorator = decorators[0] if len(decorators) == 1 else None
    bare = decorator.func if isinstance(decorator, ast.Call) else decorator
    if decorator is None or not isinstance(bare, (ast.Name, ast.Attribute)):
        return made
    wrapper = evaluate(m, state, bare)
    if wrapper == Symbol("functools.partial"):
        wrapper = evaluate(m, state, decorator)
    inner = wrapper.callee if isinstance(wrapper, Partial) else wrapper
    if not isinstance(inner, Symbol) or not transforms.is_transform(inner.name):
        return made
    at = ast.copy_location(ast.Call(decorator, [], []), decorator)
    m.notes.owners.append(at)
    return m.call_value(state, wrapper, [made], {}, at)


def _decorated(m: Machine, state: State, made: Function, decorators: list[ast.expr]) -> Function:
    """What stands under the name in the end, where the decorators are functions of this file."""
    for decorator in reversed(decorators):
        bare = decorator.func if isinstance(decorator, ast.Call) else decorator
        wrapper = evaluate(m, state, bare) if isinstance(bare, (ast.Name, ast.Attribute)) else None
        if isinstance(wrapper, Function) and isinstance(decorator, ast.Call):
            wrapper = evaluate(m, state, decorator)
        if isinstance(wrapper, Function):
            result = m.call_function(state, wrapper, [made], {}, decorator)
            made = result if isinstance(result, Function) else made
    return made


def _closed(m: Machine, state: State, info: FunctionInfo) -> Function:
    decorators = [] if isinstance(info.node, ast.Lambda) else info.node.decorator_list
    switch, mode = switch_among(m, state, decorators) or (None, None)
    if switch is not None and mode is Tracked.NO:
        m.notes.switches[id(info.node)] = switch
    if switch is None:
        modes = [switched_elsewhere(m, state, d.func if isinstance(d, ast.Call) else d) for d in decorators]
        mode = next((found for found in reversed(modes) if found is not None), None)
        if mode is Tracked.NO:
            m.notes.off_elsewhere.add(id(info.node))
    if any(_alters_elsewhere(m, state, decorator) for decorator in decorators):
        m.defined.altered.add(info)
    return Function(info, m.scope.frames, None, defaults(m, state, info.node.args), mode)


def _alters_elsewhere(m: Machine, state: State, decorator: ast.expr) -> bool:
    """Whether a decorator of another file changes what a function gives or gets, or puts an object in its place."""
    bare = decorator.func if isinstance(decorator, ast.Call) else decorator
    if m.imports is None or not isinstance(bare, (ast.Name, ast.Attribute)):
        return False
    value = evaluate(m, state, bare)
    if not isinstance(value, Symbol) or value.name.startswith("torch."):
        return False
    is_made = bare is decorator and isinstance(m.imports.find(value.name), Described)
    return is_made or m.imports.alters(value.name)


def qualified(m: Machine, name: str) -> str:
    """The dotted name of something defined here."""
    return name if m.scope.qualname == "<module>" else f"{m.scope.qualname}.{name}"


def klass(m: Machine, state: State, node: ast.ClassDef) -> Class:
    """A `class` as a value."""
    bases: list[ClassInfo | str] = []
    for base in node.bases:
        value = evaluate(m, state, base)
        if isinstance(value, Class):
            bases.append(value.info)
        elif isinstance(value, Symbol):
            bases.append(value.name)
    info = ClassInfo(node, qualified(m, node.name), tuple(bases), {})
    for parent in bases:
        if isinstance(parent, ClassInfo):
            m.defined.heirs.setdefault(parent, []).append(info)
    for statement in node.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            method = FunctionInfo(statement, f"{info.qualname}.{statement.name}", info)
            info.methods[statement.name + _stored_by(statement)] = method
            m.defined.functions[method] = (m.scope.frames, info)
            closed = m.defined.closed[method] = _closed(m, state, method)
            decorated = _decorated(m, state, closed, statement.decorator_list)
            if decorated is not closed:
                m.defined.decorated[method] = decorated
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):
            again = info.methods.get(statement.value.id)  # `__rmul__ = __mul__`
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            info.methods.update(dict.fromkeys(names, again) if again is not None else {})
    _run_body(m, state, info)
    return Class(info, m.scope.frames)


def _stored_by(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """What `@h.setter` and `@h.deleter` put behind the name, which stays that of what reads the property."""
    kinds = [d.attr for d in method.decorator_list if isinstance(d, ast.Attribute) and d.attr in ("setter", "deleter")]
    return f".{kinds[0]}" if kinds else ""


def _run_body(m: Machine, state: State, info: ClassInfo) -> None:
    """What a class body assigns. Switches are left open: others set them."""
    holder = m.defined.statics[info] = Instance(None)
    state.attributes[holder] = {}
    for statement in info.node.body:
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if value is None:
            continue
        held = evaluate(m, state, value)
        for target in targets:
            if isinstance(target, ast.Name) and held != NONE and not _is_switch(held):
                state.attributes_of(holder)[target.id] = held


def _is_switch(value: Value) -> bool:
    return isinstance(value, Const) and isinstance(value.value, bool)
