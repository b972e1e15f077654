"""What is known of a parameter, and what words tell of it: its name, its annotation, a sentence of a docstring.

Evidence is weighed, never believed: it orders guesses, and running them decides. Standard library only.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, field

# Names that say what they stand for, as regular expressions over the whole name.
_NAMED = (
    (
        "bool",
        r"(is|use|has|with|do|return|normalize|keep|no|needs?|should|if)_\w+|bias|training|inplace|verbose|causal",
    ),
    ("bool", r"batch_first|bidirectional|affine|reverse|training|symmetric|flag|\w+_enabled"),
    (
        "int",
        r"(n|num|number|max|min|in|out|hidden|embed|emb|latent|input|output|head|model|d|k|kernel)_\w+|\w*(dims?|size)",
    ),
    (
        "int",
        r"channels|features|width|height|depth|layers|heads|groups|steps|iters?|iterations|stride|kernel|rank|order",
    ),
    (
        "int",
        r"(in|out)(planes|c|ch)|planes|inplanes|reduction|dilation|padding|units|classes|vocab|length|horizon|\w+_steps",
    ),
    (
        "float",
        r"eps(ilon)?|lr|dt|dx|dy|h_?step|alpha|beta|gamma|lam(bda)?_?|tau|rho|sigma|temp(erature)?|scale|rate|p|thr(esh(old)?)?",
    ),
    (
        "float",
        r"momentum|decay|weight_decay|margin|drop(out|_path|_prob|_rate)?|\w+_(rate|scale|prob|drop|eps|coeff?)|factor|radius",
    ),
    ("long", r"\w*(idx|index|indices|labels?|ids?|tokens?|edge_index|batch_index|classes|species)"),
    ("bool_tensor", r"\w*mask"),
    ("str", r"mode|reduction|kind|method|activation|act|padding_mode|norm_type|direction|\w+_(mode|type|name)"),
    ("callable", r"f|fn|func|function|g|\w+_fn|\w+_func|act(ivation)?_layer|norm_layer|callback|criterion|\w+_layer"),
    ("module", r"model|net|network|module|layer|block|encoder|decoder|backbone|student|teacher|head|policy|critic"),
    ("optimizer", r"opt(im(izer)?)?|optimiser"),
    ("object", r"c?config|cfg|args|opts?|options|hparams|params|settings|conf"),
    ("list", r"(xs|ys|tensors|features|feats|layers|losses|outputs|states|images|losses|grads|params|\w+_list)"),
)
_BY_NAME = tuple((kind, re.compile(pattern)) for kind, pattern in _NAMED)

_ANNOTATED = (
    ("callable", r"\bCallable\b|\btype\[|\bType\["),
    ("long", r"LongTensor|IntTensor|\b(Int|Integer|UInt|Int64|Int32)\["),
    ("bool_tensor", r"BoolTensor|\bBool\["),
    ("tensor", r"\bTensor\b|FloatTensor|\bFloat\[|\bInexact\[|\bShaped\[|\bNum\["),
    ("module", r"\bModule\b|\bModuleList\b|\bSequential\b|\bLinear\b"),
    ("optimizer", r"\bOptimizer\b"),
    ("generator", r"\bGenerator\b"),
    ("dtype", r"\bdtype\b"),
    ("device", r"\bdevice\b"),
    ("str", r"\bstr\b|\bLiteral\b"),
    ("bool", r"\bbool\b"),
    ("float", r"\bfloat\b"),
    ("int", r"\bint\b"),
    ("dict", r"^(typing\.)?(dict|Dict|Mapping|MutableMapping)\b"),
    ("list", r"^(typing\.)?(list|List|Sequence|Iterable|tuple|Tuple|Collection)\b"),
)
_STRUCTURED = {"list", "dict", "object", "str", "module", "callable"}
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict"}
_HOLDING = {"list", "List", "Sequence", "Iterable", "Collection", "tuple", "Tuple", *_MAPPINGS}
_SHAPES = re.compile(r"[(\[]\s*((?:[A-Za-z_*0-9./+ -]+\s*,\s*)*[A-Za-z_*0-9./+ -]+)\s*,?\s*[)\]]")
_SIZE = re.compile(r"[A-Z]\w?|\*|\d+|[a-z]|[A-Z]_?\w+|\w+_\w+|batch|seq|dim")


@dataclass
class Clue:
    """What is known of one parameter, or of what it holds."""

    kinds: Counter[str] = field(default_factory=Counter)  # weight of each kind
    ranks: Counter[int] = field(default_factory=Counter)
    shape: tuple[int, ...] | None = None  # as documented; 0 where no number is
    fields: dict[str, Clue] = field(default_factory=dict)  # read by dot
    keys: dict[str, Clue] = field(default_factory=dict)  # read by subscript
    item: Clue | None = None  # of what is iterated over, or read by other subscripts
    parts: list[Clue] = field(default_factory=list)  # of what is unpacked
    choices: list[str] = field(default_factory=list)  # texts it is compared with
    annotation: str = ""
    arity: int = 0  # with how many arguments it's called, at most

    def add(self, kind: str, weight: int = 2) -> None:
        self.kinds[kind] += weight

    def of_field(self, name: str) -> Clue:
        """The clue of an attribute, of which its name tells something."""
        if name not in self.fields:
            self.fields[name] = named(name)
        return self.fields[name]

    def of_key(self, name: str) -> Clue:
        """The clue of what a dict has for a text."""
        return self.keys.setdefault(name, Clue())

    def of_items(self) -> Clue:
        """The clue of what a list or dict holds."""
        self.item = self.item or Clue()
        return self.item

    def of_parts(self, count: int) -> list[Clue]:
        """The clues of what a tuple of so many holds."""
        self.parts += [Clue() for _ in range(count - len(self.parts))]
        return self.parts

    def likely(self, *, of_class: bool) -> list[str]:
        """Kinds, the likeliest first. A constructor's arguments are widths, where nothing says otherwise."""
        weights = Counter({"int": 2, "tensor": -1} if of_class else {"tensor": 1})
        weights.update(self.kinds)
        if weights["long"] > 2:  # which is a tensor, too
            weights["long"] += max(0, weights["tensor"])
        if weights["module"] > 0 and weights["callable"] > 0:
            weights["module"] += weights["callable"]
        if self.item is not None and weights["list"] > 0 and self.item.is_structured:
            weights["list"] += 4
        return [kind for kind, weight in weights.most_common() if weight > 0] or ["int" if of_class else "tensor"]

    @property
    def is_structured(self) -> bool:
        """Whether it isn't a number or a tensor."""
        return any(kind in _STRUCTURED for kind, _ in self.kinds.most_common(1))


def named(name: str) -> Clue:
    """What a name alone says."""
    clue = Clue()
    for kind, pattern in _BY_NAME:
        if pattern.fullmatch(name):
            clue.add(kind, 3 if kind != "list" else 1)
    return clue


def annotated(text: str, clue: Clue) -> None:
    """Read an annotation."""
    clue.annotation = text = text.strip("'\"")
    bare = re.sub(r"^(typing\.)?Optional\[(.*)\]$", r"\2", text)
    bare = " | ".join(part for part in re.split(r"\s*\|\s*", bare) if part != "None")
    inner = re.fullmatch(r"(?:typing\.|collections\.abc\.)?(\w+)\[(.*)\]", bare)
    if inner is not None and inner[1] in _HOLDING:
        clue.add("dict" if inner[1] in _MAPPINGS else "list", 60)
        if held := _arguments(inner[2]):  # none in `tuple[()]`
            _holding(inner[1], held, clue)
        return
    for number, (kind, pattern) in enumerate(reversed(_ANNOTATED)):
        if re.search(pattern, bare):
            clue.add(kind, 10 + 2 * number if kind not in ("list", "dict") else 60)
    clue.choices += re.findall(r"['\"]([\w-]+)['\"]", text) if "Literal" in text else []
    shaped = re.search(r"Tensor,\s*['\"]([^'\"]*)['\"]", text)
    if shaped is not None:
        sizes = [size for size in shaped[1].split() if size != "..."]
        clue.ranks[len(sizes)] += 10
        clue.shape = tuple(int(size) if size.isdigit() else 0 for size in sizes)


def _holding(container: str, inner: list[str], clue: Clue) -> None:
    """Read what an annotated container holds."""
    if container in _MAPPINGS:
        annotated(inner[-1], clue.of_items())
    elif container in ("tuple", "Tuple") and inner[-1] != "...":
        for text, part in zip(inner, clue.of_parts(len(inner))):
            annotated(text, part)
    else:
        annotated(inner[0], clue.of_items())


def _arguments(text: str) -> list[str]:
    """What stands between the brackets of an annotation, taken apart."""
    try:
        node = ast.parse(f"_[{text}]", mode="eval").body
    except SyntaxError:
        return [text]
    inside = node.slice if isinstance(node, ast.Subscript) else node
    every = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    return ["..." if isinstance(one, ast.Constant) and one.value is ... else ast.unparse(one) for one in every]


def documented(text: str, clue: Clue) -> None:
    """Read what a text says of one parameter: shapes like `(N, C, H, W)` and words like "LongTensor"."""
    if re.search(r"LongTensor|\blong\b|\bindices\b", text):
        clue.add("long", 3)
    if re.search(r"BoolTensor|boolean", text):
        clue.add("bool_tensor", 2)
    if re.search(r"[Tt]ensor", text):
        clue.add("tensor", 4)
    for match in _SHAPES.finditer(text):
        sizes = [size.strip() for size in match[1].split(",")]
        named = all(_SIZE.fullmatch(size) for size in sizes)
        if named and (len(sizes) > 1 or "shape" in text):
            clue.add("tensor", 4)
            clue.ranks[len([size for size in sizes if size != "*"])] += 5
            clue.shape = tuple(int(size) if size.isdigit() else 0 for size in sizes if size != "*")
            return
