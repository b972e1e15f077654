"""From what is known of a parameter to values for it, the likeliest first."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gradfix.backward.worker.synthesis.clues import Clue, named
from gradfix.backward.worker.synthesis.values import Argument, Code, Fields, Plain, Several, Tensor, Value

SIZE = 4  # of every dimension and width at first: what must agree does
LARGE = 64  # a default beyond this is made smaller
DEEP = 6  # layers that a default may have
WIDE = 32  # what a large width becomes: groups and heads by default divide it
OF_SEVERAL = ("lambda *args: tanh(args[1])", "lambda *args: tanh(args[0])", "nn.functional.mse_loss")
OF_ANY = ("nn.Identity", "lambda *args, **keywords: args[0]")  # take whatever they are given
CLASSES = ("nn.Identity", "nn.ReLU")
FUNCTIONS = ("tanh", "nn.Tanh()", "nn.Linear(4, 4)", *OF_SEVERAL, "nn.ReLU", "nn.Identity")
TEXTS = ("relu", "mean", "none", "gelu", "same", "zeros", "constant", "reflect")
_COUNTS = re.compile(
    r"(n_?|num_?)?(heads?|nhead|groups|layers|depth|blocks|levels|stages|steps?|iters?|iterations|experts)|n_\w+|num_(heads|layers|groups|blocks)\w*"
)
_ONES = re.compile(r"stride|dilation|padding|axis|\w*start\w*|expand_ratio|expansion|offset")
_WINDOWS = re.compile(r"\w*kernel(_size)?|window(_size)?|ks|\w*patch(_size)?")
_MAKERS = re.compile(r"(\w+_)?(layer|class|cls)")  # of callables: called once, they give what is called then
_DATA = re.compile(r"x|y|z|pos(itions?)?|\w+_(attr|weight|states)|inputs?|logits|targets?|images?|img|points|coords")
_SMALL = re.compile(r"lr|dt|dx|dy|eps\w*|step_size|\w*eps|step|learning_rate|\w*decay")
_REPEATED = re.compile(r"\w*(layers?|depths?|repeats|blocks|res_units)(_per_\w+)?")
_CHANCES = re.compile(r"p|\w*drop\w*|prob\w*")


def nothing(clue: Clue, nested: int) -> Value | None:
    """Where no class is known."""
    return None


@dataclass(frozen=True)
class Context:
    """Where a parameter stands, and what its module offers."""

    of_class: bool  # of a constructor: widths rather than tensors
    instance: Callable[[Clue, int], Value | None] = nothing  # an object of one of the module's classes
    nested: int = 0

    @property
    def inside(self) -> Context:
        """Of what a value holds."""
        return replace(self, nested=self.nested + 1)


def argument(parameter: inspect.Parameter, clue: Clue, context: Context) -> list[Argument]:
    """The ways to pass a parameter. One with a default is left out at first."""
    values = guesses(parameter.name, clue, context)
    by_name = parameter.kind is inspect.Parameter.KEYWORD_ONLY
    if parameter.default is not inspect.Parameter.empty:
        values = [value for value in _near(parameter.default, parameter.name, clue) if value not in values] + values
        return [Argument(parameter.name, v, by_name, left_out=n == 0) for n, v in enumerate([values[0], *values])]
    return [Argument(parameter.name, value, by_name) for value in values]


def _near(default: Any, name: str, clue: Clue) -> list[Value]:
    """Values like a default."""
    if isinstance(default, bool):
        return [Plain(not default)]
    if isinstance(default, int):
        return [Plain(SIZE if default > LARGE else default + 1), Plain(max(0, default - 1))]
    if isinstance(default, float):
        return [Plain(default * 2 or 0.5)]
    if isinstance(default, str):
        return [Plain(choice) for choice in clue.choices if choice != default]
    return []


def is_heavy(default: Any, name: str) -> bool:
    """Whether a constructor takes long with such a default."""
    if type(default) in (list, tuple):
        return any(is_heavy(item, name) for item in default) or (
            _REPEATED.fullmatch(name) is not None and all(type(n) is int for n in default) and sum(default) > 2 * DEEP
        )
    return type(default) is int and default > (DEEP if _REPEATED.fullmatch(name) else 4 * LARGE)


def small(default: Any, name: str, *, widths: bool = True) -> Value | None:
    """Like a default of a constructor that would take long: each part once, and widths of `WIDE`; None for others."""
    if type(default) in (list, tuple):
        items = [small(item, name, widths=widths) for item in default]
        if not any(items) or not all(isinstance(item, (int, float)) for item in default):
            return None
        made = (new or Plain(item) for new, item in zip(items, default))
        return Several(tuple(made), is_list=isinstance(default, list))
    if type(default) is not int:
        return None
    if _REPEATED.fullmatch(name):
        return Plain(1) if default > 1 else None
    return Plain(WIDE) if widths and default > LARGE else None


def guesses(name: str, clue: Clue, context: Context) -> list[Value]:
    """Values of the likeliest kinds, each kind's own alternatives behind all first ones."""
    own = context.instance(clue, context.nested)
    first: list[Value] = [] if own is None else [own]
    rest: list[Value] = []
    for kind in clue.likely(of_class=context.of_class):
        values = of_kind(kind, name, clue, context)
        first += values[:1]
        rest += values[1:]
    return list(dict.fromkeys([*first, *rest]))


def of_kind(kind: str, name: str, clue: Clue, context: Context) -> list[Value]:
    """Values of one kind."""
    if kind in ("tensor", "long", "bool_tensor"):
        return _tensors(kind, name, clue)
    if kind == "int":
        return [Plain(number) for number in integers(name)]
    if kind == "float":
        small, chance = _SMALL.fullmatch(name), _CHANCES.fullmatch(name)
        return [Plain(0.1 if small or chance else 0.5), Plain(1.0)]
    if kind == "bool":
        return [Plain(False), Plain(True)]
    if kind == "str":
        return [Plain(choice) for choice in dict.fromkeys(clue.choices or TEXTS)]
    if kind == "callable":
        texts = FUNCTIONS if clue.arity < 2 else (*OF_SEVERAL, *FUNCTIONS)
        makes = re.search(r"\b[Tt]ype\[", clue.annotation) or _MAKERS.fullmatch(name)
        return [Code(text) for text in dict.fromkeys((*CLASSES, *texts) if makes else texts)]
    return _compound(kind, name, clue, context)


def _compound(kind: str, name: str, clue: Clue, context: Context) -> list[Value]:
    if kind == "module":
        return [Code(text) for text in ("nn.Linear(4, 4)", "nn.Tanh()", "nn.Conv2d(4, 4, 3, padding=1)")]
    if kind == "optimizer":
        return [Code("optim.SGD([randn(4, requires_grad=True)], lr=0.1)")]
    if kind == "generator":
        return [Code("Generator()")]
    if kind == "dtype":
        return [Code("float32")]
    if kind == "device":
        return [Plain("cpu")]
    if kind == "dict":
        return [_dict(clue, context)]
    if kind == "list":
        return _several(clue, context)
    if kind == "object":
        return [space(clue, context)]
    return []


def _dict(clue: Clue, context: Context) -> Fields:
    keyed = ((key, guesses(key, inner, context.inside)[0]) for key, inner in clue.keys.items())
    return Fields(tuple(keyed) or (("a", _held(clue, context)[0]),))


def _several(clue: Clue, context: Context) -> list[Value]:
    """A list of like values, or a tuple of those that are unpacked."""
    if clue.parts:
        parts = [guesses("", part, context.inside) for part in clue.parts]
        return [Several(tuple(one[0] for one in parts), is_list=False)]
    first, *others = _held(clue, context)
    tuples = [Several((first,) * 3, is_list=False)]
    return [Several((first,) * 3), Several((first,)), *tuples, *(Several((other,) * 3) for other in others[:4])]


def _held(clue: Clue, context: Context) -> list[Value]:
    """What a list or dict may hold."""
    return guesses("", clue.item or Clue(), context.inside)


def space(clue: Clue, context: Context) -> Fields:
    """An object with what is read of it; numbers rather than tensors, as settings have, where nothing is known."""
    fields = ((name, _field(name, inner, context)) for name, inner in clue.fields.items())
    return Fields(tuple(fields), "SimpleNamespace")


def _field(name: str, clue: Clue, context: Context) -> Value:
    return guesses(name, clue, context.inside)[0] if clue.kinds else field_value(name)


def field_value(name: str) -> Value:
    """A value for a setting, told by its name alone."""
    clue = named(name)
    if _DATA.fullmatch(name):
        clue.add("tensor", 4)
    return guesses(name, clue, Context(of_class=True, nested=1))[0]


def integers(name: str) -> list[int]:
    """Numbers for a parameter of that name."""
    if _COUNTS.fullmatch(name):
        return [2, 1, 3, SIZE]
    if _ONES.fullmatch(name):
        return [1, 0, 2]
    if _WINDOWS.fullmatch(name):
        return [3, 2, 1]
    if name in ("dim", "axis"):
        return [SIZE, -1, 0, 1]
    return [SIZE, 8, 2, 3, 1, 16]


def _tensors(kind: str, name: str, clue: Clue) -> list[Value]:
    shapes: list[tuple[int, ...]] = []
    if clue.shape is not None:
        shapes.append(tuple(size or SIZE for size in clue.shape))
    ranks = [rank for rank, _ in clue.ranks.most_common()]
    default = [1, 2, 3, 4, 0] if kind == "long" else [2, 3, 1, 4, 0, 5]
    shapes += [(SIZE,) * rank for rank in dict.fromkeys([*ranks, *default]) if rank <= 5]
    if name in ("edge_index", "edges") and kind == "long":
        shapes.insert(0, (2, SIZE))
    word = {"tensor": "normal", "long": "long", "bool_tensor": "bool"}[kind]
    return [Tensor(shape, word) for shape in dict.fromkeys(shapes)]
