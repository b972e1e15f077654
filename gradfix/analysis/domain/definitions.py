"""The functions and classes that a file defines, as far as their text tells."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.text.names import BodyNames, body_names, stands_for_others
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.parameters import named_of

NAMED_TUPLES = ("typing.NamedTuple",)
_KINDS = frozenset({"isinstance", "type", "is_tensor", "hasattr"})


@dataclass(eq=False, slots=True)
class FunctionInfo:
    """A function, method or lambda of this file."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    qualname: str
    owner: ClassInfo | None = None
    _body: BodyNames | None = None  # most functions of a file are never entered
    _abstract: bool | None = None
    _by_kind: bool | None = None
    _parameters: tuple[str, ...] | None = None

    @property
    def goes_by_kind(self) -> bool:
        """Whether it asks what kind of value it has got, as who calls itself with what a container holds does."""
        if self._by_kind is None:
            called = (node.func for node in every_node(self.node) if isinstance(node, ast.Call))
            self._by_kind = any((f.id if isinstance(f, ast.Name) else getattr(f, "attr", "")) in _KINDS for f in called)
        return self._by_kind

    @property
    def local_names(self) -> frozenset[str]:
        """The names Python treats as local to it."""
        return self._names.local

    @property
    def is_generator(self) -> bool:
        """True when calling it doesn't run its body."""
        return self._names.is_generator

    @property
    def global_names(self) -> frozenset[str]:
        """The names it says are the module's."""
        return self._names.globals

    @property
    def may_not_return(self) -> bool:
        """True where a `raise` may be the end of every way through it."""
        return self._names.raises

    @property
    def stands_for_others(self) -> bool:
        """Whether it is a method that only stands for those of subclasses."""
        if self._abstract is None:
            of_class = None if self.owner is None or isinstance(self.node, ast.Lambda) else self.node
            self._abstract = of_class is not None and stands_for_others(of_class)
        return self._abstract

    @property
    def _names(self) -> BodyNames:
        if self._body is None:
            self._body = body_names(self.node)
        return self._body

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of positional and keyword parameters, in order."""
        if self._parameters is None:
            self._parameters = tuple(a.arg for a in named_of(self.node.args))
        return self._parameters


@dataclass(frozen=True, eq=False, slots=True)
class ClassInfo:
    """A class of this file."""

    node: ast.ClassDef
    qualname: str
    bases: tuple[ClassInfo | str, ...]  # classes of this file, or qualified names
    methods: dict[str, FunctionInfo]

    def method(self, name: str) -> FunctionInfo | None:
        """The method as attribute look-up would find it among the classes of this file."""
        if name in self.methods:
            return self.methods[name]
        for base in self.bases:
            if isinstance(base, ClassInfo) and (found := base.method(name)):
                return found
        return None

    @property
    def is_frozen(self) -> bool:
        """Whether the fields of its objects can't be assigned: a named tuple, or a frozen dataclass."""
        frozen = any("frozen=True" in ast.unparse(decorator) for decorator in self.node.decorator_list)
        inherited = any(isinstance(base, ClassInfo) and base.is_frozen for base in self.bases)
        return frozen or inherited or self.derives_from(*NAMED_TUPLES)

    @property
    def optimizes_by_itself(self) -> bool:
        """Whether Lightning leaves the optimizers to its `training_step` (`self.automatic_optimization = False`)."""
        assigned = (inner for inner in every_node(self.node) if isinstance(inner, ast.Assign))
        off = (inner for inner in assigned if isinstance(inner.value, ast.Constant) and inner.value.value is False)
        targets = [target for inner in off for target in inner.targets]
        here = any(getattr(t, "attr", getattr(t, "id", "")) == "automatic_optimization" for t in targets)
        return here or any(isinstance(base, ClassInfo) and base.optimizes_by_itself for base in self.bases)

    def has_property(self, name: str) -> bool:
        """Whether reading `name` calls a method each time, which alone could take what is assigned (`@name.setter`)."""
        found = self.method(name)
        marks = getattr(found.node, "decorator_list", ()) if found is not None else ()
        return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in marks)

    def descends_from(self, other: ClassInfo) -> bool:
        """True when another class of this file is a base, near or far."""
        return any(isinstance(b, ClassInfo) and (b is other or b.descends_from(other)) for b in self.bases)

    def derives_from(self, *names: str) -> bool:
        """True when a base, near or far, has one of these qualified names."""
        return any(base.derives_from(*names) if isinstance(base, ClassInfo) else base in names for base in self.bases)
