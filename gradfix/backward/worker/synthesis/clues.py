"""What the text of a function says about its parameters: annotations, docstring, names, and what the body does to them.

Evidence is weighed, never believed: it orders guesses, and running them decides. Standard library only.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, field

from gradfix.backward.worker.synthesis.origins import Function, parameters

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
_OF_DICTS = {"items", "keys", "values", "get", "setdefault"}
_OF_LISTS = {"append", "extend", "insert"}
_OF_TEXTS = {"lower", "upper", "startswith", "endswith", "strip"}
_OF_MODULES = {"parameters", "named_parameters", "state_dict", "zero_grad", "children", "modules", "train", "eval"}
_SHAPES = re.compile(r"[(\[]\s*((?:[A-Za-z_*0-9./+ -]+\s*,\s*)*[A-Za-z_*0-9./+ -]+)\s*,?\s*[)\]]")
_SIZE = re.compile(r"[A-Z]\w?|\*|\d+|[a-z]|[A-Z]_?\w+|\w+_\w+|batch|seq|dim")


@dataclass
class Clue:
    """What is known of one parameter."""

    kinds: Counter[str] = field(default_factory=Counter)  # weight of each kind
    ranks: Counter[int] = field(default_factory=Counter)
    shape: tuple[int, ...] | None = None  # as documented; 0 where no number is
    keys: list[str] = field(default_factory=list)  # read by subscript
    attributes: list[str] = field(default_factory=list)  # read by dot
    choices: list[str] = field(default_factory=list)  # texts it is compared with
    annotation: str = ""
    length: int = 0  # of what is unpacked

    def add(self, kind: str, weight: int = 2) -> None:
        self.kinds[kind] += weight

    def likely(self, *, of_class: bool) -> list[str]:
        """Kinds, the likeliest first. A constructor's arguments are widths, where nothing says otherwise."""
        weights = Counter({"int": 2, "tensor": -1} if of_class else {"tensor": 1})
        weights.update(self.kinds)
        if weights["module"] > 0 and weights["callable"] > 0:
            weights["module"] += weights["callable"]
        return [kind for kind, weight in weights.most_common() if weight > 0] or ["int" if of_class else "tensor"]


def clues(function: Function, tables: dict[str, list[str]], of_tensors: frozenset[str]) -> dict[str, Clue]:
    """A clue for each parameter.

    `tables` are the keys of the module's dicts, `of_tensors` the attributes that tensors have.
    """
    found = {name: Clue() for name in parameters(function)}
    _from_signature(function, found)
    _from_docstring(function, found)
    parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in found:
            _from_use(node, parents, found[node.id], tables, of_tensors)
    for name, clue in found.items():
        clue.kinds.update(named(name).kinds)
    return found


def named(name: str) -> Clue:
    """What a name alone says."""
    clue = Clue()
    for kind, pattern in _BY_NAME:
        if pattern.fullmatch(name):
            clue.add(kind, 3 if kind != "list" else 1)
    return clue


def _from_signature(function: Function, found: dict[str, Clue]) -> None:
    given = function.args
    for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))):
        if one.annotation is not None:
            annotated(ast.unparse(one.annotation), found[one.arg])


def annotated(text: str, clue: Clue) -> None:
    """Read an annotation."""
    clue.annotation = text = text.strip("'\"")
    bare = re.sub(r"^(typing\.)?Optional\[(.*)\]$", r"\2", text)
    bare = " | ".join(part for part in re.split(r"\s*\|\s*", bare) if part != "None")
    for number, (kind, pattern) in enumerate(reversed(_ANNOTATED)):
        if re.search(pattern, bare):
            clue.add(kind, 10 + 2 * number if kind not in ("list", "dict") else 60)
    clue.choices += re.findall(r"['\"]([\w-]+)['\"]", text) if "Literal" in text else []
    shaped = re.search(r"Tensor,\s*['\"]([^'\"]*)['\"]", text)
    if shaped is not None:
        sizes = [size for size in shaped[1].split() if size != "..."]
        clue.ranks[len(sizes)] += 10
        clue.shape = tuple(int(size) if size.isdigit() else 0 for size in sizes)
    if re.match(r"^(tuple|Tuple)\[", bare) and "..." not in bare:
        clue.length = bare.count(",") + 1


def _from_docstring(function: Function, found: dict[str, Clue]) -> None:
    text = ast.get_docstring(function) if not isinstance(function, ast.Lambda) else None
    for line in (text or "").splitlines():
        match = re.match(r"\s*(?::param\s+)?[`*-]*\s*(\w+)[`*]*\s*(?:\(|:|\[)", line)
        clue = found.get(match[1]) if match is not None else None
        if clue is not None and match is not None:
            documented(line[match.end(1) :], clue)
            continue
        for name in re.findall(r"\w+", line):  # "Convert an image of shape (N, C, H, W)"
            if name in found and found[name].shape is None and len(name) > 1:
                documented(line[line.index(name) :], found[name])


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


def _from_use(
    node: ast.Name,
    parents: dict[ast.AST, ast.AST],
    clue: Clue,
    tables: dict[str, list[str]],
    of_tensors: frozenset[str],
) -> None:
    parent = parents.get(node)
    above = parents.get(parent) if parent is not None else None
    if isinstance(parent, ast.Attribute):
        _from_attribute(parent, above, parents, clue, of_tensors)
    elif isinstance(parent, ast.Call):
        _from_call(node, parent, clue)
    elif isinstance(parent, ast.Subscript) and parent.value is node:
        _from_subscript(parent, clue)
    elif isinstance(parent, (ast.Subscript, ast.Slice)):
        _from_index(parent, clue, tables)
    elif isinstance(parent, ast.BinOp):
        _from_arithmetic(node, parent, clue)
    elif isinstance(parent, ast.Compare):
        _from_comparison(node, parent, clue)
    elif isinstance(parent, ast.UnaryOp):
        clue.add({ast.Not: "bool", ast.Invert: "bool_tensor"}.get(type(parent.op), "tensor"), 2)
    elif isinstance(parent, (ast.If, ast.IfExp, ast.BoolOp)) and getattr(parent, "test", node) is node:
        clue.add("bool", 2)
    else:
        _from_spreading(node, parent, clue)


def _from_index(parent: ast.AST, clue: Clue, tables: dict[str, list[str]]) -> None:
    """`x[name]`, `x[name:]`."""
    inside = parent.value if isinstance(parent, ast.Subscript) else None
    table = tables.get(inside.id) if isinstance(inside, ast.Name) else None
    if table:
        clue.choices += table
        clue.add("str", 6)
    else:
        clue.add("int", 3 if isinstance(parent, ast.Slice) else 1)
        clue.add("long", 2 * isinstance(parent, ast.Subscript))
        clue.add("bool_tensor", 1 * isinstance(parent, ast.Subscript))


def _from_spreading(node: ast.Name, parent: ast.AST | None, clue: Clue) -> None:
    """`for … in name`, `*name`, `**name`, `a, b = name`."""
    if isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node:
        clue.add("list", 2)
        clue.add("tensor", 1)
    elif isinstance(parent, ast.Starred):
        clue.add("list", 3)
    elif isinstance(parent, ast.keyword) and parent.arg is None:
        clue.add("dict", 4)
    elif isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Tuple):
        clue.add("list", 2)
        clue.length = len(parent.targets[0].elts)


def _from_attribute(
    node: ast.Attribute, above: ast.AST | None, parents: dict[ast.AST, ast.AST], clue: Clue, of_tensors: frozenset[str]
) -> None:
    name = node.attr
    for kind, names in (("dict", _OF_DICTS), ("list", _OF_LISTS), ("str", _OF_TEXTS), ("module", _OF_MODULES)):
        if name in names:
            clue.add(kind, 5)
            return
    if name not in of_tensors:
        clue.add("object", 4)
        if name not in clue.attributes:
            clue.attributes.append(name)
        return
    clue.add("tensor", 5)
    clue.attributes.append(name)
    if isinstance(above, ast.Call) and above.func is node:
        if name == "permute" and len(above.args) > 1:
            clue.ranks[len(above.args)] += 5
        if name == "size" and not above.args:
            _unpacked(above, parents, clue)
    if name == "shape":
        _unpacked(node, parents, clue)


def _unpacked(shape: ast.AST, parents: dict[ast.AST, ast.AST], clue: Clue) -> None:
    """The rank, where the shape is taken apart."""
    above = parents.get(shape)
    if isinstance(above, ast.Assign) and isinstance(above.targets[0], (ast.Tuple, ast.List)):
        names = above.targets[0].elts
        clue.ranks[len([n for n in names if not isinstance(n, ast.Starred)])] += 8


def _from_call(node: ast.Name, call: ast.Call, clue: Clue) -> None:
    if call.func is node:
        clue.add("callable", 8)
        return
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if last in ("range", "arange", "eye", "Embedding", "view", "reshape", "expand", "repeat", "zeros", "ones", "randn"):
        clue.add("int", 4)
    elif last in ("Linear", "Parameter", "LayerNorm", "GRUCell", "LSTM", "GRU") or re.match(
        r"(Conv|BatchNorm|Lazy)", last
    ):
        clue.add("int", 3)
    elif last in ("len", "enumerate", "zip", "list", "sum"):
        clue.add("list", 1)
        clue.add("tensor", 2)
    elif last in ("Dropout", "dropout") or name.startswith("math."):
        clue.add("float", 3)
    elif last in ("isinstance",) and len(call.args) == 2:
        annotated(ast.unparse(call.args[1]), clue)
    elif last in ("one_hot", "embedding"):
        clue.add("long", 4)
    elif last in ("cross_entropy", "nll_loss") and node in call.args[1:2]:
        clue.add("long", 5)
        clue.ranks[1] += 2
    elif last in ("gather", "index_select", "scatter_add", "index_add", "scatter") and node in call.args[1:2]:
        clue.add("long", 5)
    elif last in ("where", "masked_fill", "masked_select") and node in call.args[:1]:
        clue.add("bool_tensor", 4)
    elif re.match(r"(torch|F|nn\.functional|self)\.", name):
        clue.add("tensor", 2)


def _from_subscript(node: ast.Subscript, clue: Clue) -> None:
    index = node.slice
    if isinstance(index, ast.Constant) and isinstance(index.value, str):
        clue.add("dict", 6)
        if index.value not in clue.keys:
            clue.keys.append(index.value)
    elif isinstance(index, ast.Tuple):
        count = len([i for i in index.elts if not (isinstance(i, ast.Constant) and i.value in (None, ...))])
        clue.add("tensor", 5)
        clue.ranks[count] += 3
    else:
        clue.add("tensor", 3)
        clue.add("list", 1)


def _from_arithmetic(node: ast.Name, parent: ast.BinOp, clue: Clue) -> None:
    other = parent.right if parent.left is node else parent.left
    if isinstance(parent.op, ast.MatMult):
        clue.add("tensor", 5)
        clue.ranks[2] += 1
    elif isinstance(parent.op, (ast.FloorDiv, ast.Mod)):
        clue.add("int", 3)
    elif isinstance(parent.op, ast.Pow) and parent.left is node and isinstance(other, ast.UnaryOp):
        clue.add("int", 2)
    else:
        clue.add("tensor", 1)
        clue.add("float", 1)


def _from_comparison(node: ast.Name, parent: ast.Compare, clue: Clue) -> None:
    for other in (parent.left, *parent.comparators):
        items = other.elts if isinstance(other, (ast.Tuple, ast.List, ast.Set)) else [other]
        for item in items:
            if isinstance(item, ast.Constant) and isinstance(item.value, str):
                clue.add("str", 6)
                clue.choices.append(item.value)
            elif isinstance(item, ast.Constant) and isinstance(item.value, (int, float)):
                clue.add("int" if type(item.value) is int else "float", 1)
                clue.add("tensor", 1)
