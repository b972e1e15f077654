"""What codemods read: `ast` nodes as addresses into the source; what isn't proven is `None`, `MAYBE` or `UNKNOWN`."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from enum import Enum

from gradfix.analysis.backward_facts import NonLeafGrad, SecondBackward
from gradfix.analysis.cut_kinds import CutEffect, CutKind, Elsewhere
from gradfix.analysis.tensor_facts import TensorFacts as TensorFacts
from gradfix.analysis.tensor_facts import Tracked as Tracked
from gradfix.analysis.updates import EarlyStep
from gradfix.analysis.view_facts import NO_VIEWS, WrittenViews
from gradfix.analysis.way_facts import BareWay
from gradfix.findings import Hazard, Place, Severity


class IndexKind(Enum):
    """What one item of an index is; the form of a write depends on it (basic: a view; advanced: index_put)."""

    INT = "int"
    SLICE = "slice"
    ELLIPSIS = "ellipsis"
    NONE = "none"
    BOOL = "bool"  # a Python bool, which adds a dimension and copies; perhaps a mask of what isn't known
    MASK = "mask"  # a bool tensor
    TENSOR = "tensor"  # an integer tensor, list, range or array
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class IndexItem:
    """One item of an index expression."""

    kind: IndexKind
    node: ast.expr
    value: int | None = None  # of an INT, where it is a constant
    rank: int | None = None  # of a MASK or TENSOR
    ranked: bool = False  # a TENSOR of at least one dimension, even if `rank` isn't known
    is_tensor: bool = False  # a TENSOR proven to be a torch tensor, not a list, range or array
    takes_view: bool = False  # UNKNOWN: a tuple under a name, of ints, slices and the like
    transposed: bool = False  # a MASK that lies in memory in another order


class ValueKind(Enum):
    """What stands on the right of a write."""

    NUMBER = "number"  # a Python int, float or bool, never a tensor
    TENSOR = "tensor"
    UNKNOWN = "unknown"
    NOTHING = "nothing"  # a write without a value: `y.exp_()`


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """What is known of the value written."""

    kind: ValueKind
    tensor: TensorFacts | None = None
    number_type: str | None = None  # "int", "float" or "bool" for a NUMBER where known
    same_dtype: bool = False  # a TENSOR proven to have the target's dtype, whatever that is


class WriteForm(Enum):
    """The spelling of a write."""

    INDEX = "index"  # y[i] = v
    AUGMENTED = "augmented"  # y += v, self.h += v
    AUGMENTED_INDEX = "augmented-index"  # y[i] += v
    METHOD = "method"  # y.exp_(), y[i].mul_(2)
    FUNCTION = "function"  # torch.relu_(y), F.relu_(y)
    CALL = "call"  # operator.iadd(y, 1), torch.Tensor.add_(y, 1), y.__setitem__(0, v)
    FLAG = "flag"  # F.relu(y, inplace=True), or a call of a module built with inplace=True
    FOREIGN = "foreign"  # add_noise_(y), of a function that stands in another file
    ARRAY = "array"  # t.numpy()[0] = v
    OUT = "out"  # torch.mul(a, b, out=y)
    DATA = "data"  # through .data: y.data.clamp_(0), y.data[0] = v


class ObstacleKind(Enum):
    """Why giving the target a new tensor would change what somebody else sees."""

    ALIAS_READ = "alias-read"  # another name of the storage is read after the write
    ARGUMENT_READ = "argument-read"  # the caller reads, under its name, what it handed to the function that writes
    BASE_READ = "base-read"  # the target is a view; its base or another view of it is read after the write
    CALLER_SEES = "caller-sees"  # the tensor came in as an argument; the caller keeps the old object
    ESCAPED = "escaped"  # stored where the analysis can't follow (attribute, container, unknown call)
    CLOSURE = "closure"  # the target is a variable of an enclosing function or a global without declaration
    PARAMETER = "parameter"  # an nn.Parameter attribute can't be rebound to a plain tensor
    LEAF_GRAD_READ = "leaf-grad-read"  # `.grad` of the leaf is read later, or an optimizer holds it
    NOT_A_NAME = "not-a-name"  # the target expression can't be assigned (call result, loop element, …)
    GRADIENTS_OFF = "gradients-off"  # written under no_grad on purpose; a tensor made there would have no graph
    IN_TUPLE = "in-tuple"  # an item of a tuple, as `torch.split` and `torch.unbind` return
    HOLDS_ITEMS = "holds-items"  # the target is a list or dict, whose items are written
    FROZEN = "frozen"  # a field of a named tuple or a frozen dataclass
    COMPUTED = "computed"  # what a property or a `__getitem__` makes when it is asked
    ELSEWHERE = "elsewhere"  # written by a method of a class in another file, which has the object to itself
    OVERLAP = "overlap"  # the value is a view of the target, some of which is written before it is read
    USED_AS_VALUE = "used-as-value"  # the result of the writing expression is used
    HANDLED = "handled"  # the program handles the error that the write raises, and goes on another way


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason against a plain rebinding of a write's target."""

    kind: ObstacleKind
    name: str  # the other holder as the user writes it, e.g. "row"
    place: Place | None = None  # where it is read
    certain: bool = True  # False: it may be so; the fix is offered as unsafe
    replay: str | None = None  # the name of `Write.views` that has the write, once it is replayed


@dataclass(frozen=True, slots=True)
class SavedValue:
    """What an operation saved for backward, by the expression that handed it over or returned it."""

    expression: ast.expr
    form: WriteForm | None = None  # of a call that saved its result in place: METHOD, FUNCTION, FLAG
    method: str | None = None  # "exp_" of such a METHOD or FUNCTION


@dataclass(frozen=True, slots=True)
class Write:
    """A write to a tensor in place, joined over every time the analysis passed it."""

    form: WriteForm
    node: ast.AST  # the Assign, AugAssign or Call that writes
    statement: ast.stmt  # the simple statement around `node`
    function: str  # qualified name, "<module>" at top level
    identity_ordinal: int  # among equal statements of the function
    target: ast.expr  # the expression that holds the tensor written: `y` in `y[i] = v`, `y[0]` in `y[0].exp_()`
    index: tuple[IndexItem, ...]  # of INDEX and AUGMENTED_INDEX
    value: ast.expr | None
    operator: str | None  # "+=" of an augmented write
    method: str | None  # "exp_" of METHOD and FUNCTION, "relu" of FLAG
    tensor: TensorFacts  # of the target, before the write
    written: ValueFacts
    severity: Severity
    hazards: tuple[Hazard, ...]  # most severe first; empty for a harmless write
    obstacles: tuple[Obstacle, ...]
    holder: ast.expr | None = None  # base of a view: `y` for `y[0]`; None for items of lists and dicts
    saved: tuple[SavedValue, ...] = ()  # with a copy of each, backward keeps its values; empty: that's no cure
    expansions: tuple[ast.expr, ...] = ()  # what made it share memory with itself
    refused: bool = False  # and torch raises at the write itself, for certain
    named_view: bool = False  # the target is a name that stands for a part of another tensor
    views: WrittenViews = NO_VIEWS
    splits: tuple[ast.expr, ...] = ()  # what split the base into the views in question; empty where one is unknown
    leaves: tuple[ast.expr, ...] = ()  # the expressions that make what is written a leaf; empty where one is unknown
    of_module: bool = False  # what is written is a parameter of a module, or may be one of several
    makers: tuple[ast.Call, ...] = ()  # constructors of modules whose writes, in place, nobody outside of them sees
    saved_by_known: bool = True  # by operations of torch, which neither write to their operands nor hand them on
    may_be_number: bool = False  # in some passages no tensor yet: `total` of `total += v`, from 0.0 on
    value_changes: bool = False  # the memory of the value is written in place somewhere, too
    operands: tuple[tuple[str, ValueFacts], ...] = ()  # of a write under a mask: the names in its value
    calls: tuple[ast.Call, ...] = ()  # seen to run the function it stands in, or one that leads there
    whole_mask: bool = False  # the index is one mask, proven to have the shape of the target
    handed_on: bool = False  # what reads the target afterwards isn't in the text yet: the fix itself puts it there


class ConditionKind(Enum):
    """What the test of an `if` is made of."""

    TENSOR = "tensor"  # a bool tensor expression, e.g. `x[0] > 0`
    ITEM = "item"  # Python numbers taken from tensors: `x[0].item() > 0.1`
    PYTHON = "python"  # nothing of it depends on tensor data


@dataclass(frozen=True, slots=True)
class ConditionalFill:
    """A buffer without graph that only a branch connects to the leaves."""

    branch: ast.If | ast.While
    function: str
    identity_ordinal: int
    buffer: ast.expr  # the name written in the branch
    created: Place  # where the untracked buffer was made
    writes: tuple[Write, ...]  # the writes of the branch, in order
    condition: ConditionKind
    only_connection: bool  # proven: without the branch the loss has no graph at all
    tensor: TensorFacts  # of the buffer
    severity: Severity
    hazards: tuple[Hazard, ...]
    sources: tuple[str, ...]  # names in scope at the branch that hold tracked tensors the writes read
    flat_tests: tuple[
        ast.expr, ...
    ] = ()  # what the branch asks, without `and`, `or` and `not`, where it has no dimensions


@dataclass(frozen=True, slots=True)
class SlotAccess:
    """A place in a loop where a buffer is used: which slot it names, as far as ints say so.

    With axes (1,), `out[:, t - 1, 0]` has the slot `t - 1` and leaves the index `:, 0` for it.
    """

    node: ast.expr  # what names the slot in the source: `out[:, t - 1]`, `D[i][j]`, or `out` alone
    slots: tuple[ast.expr, ...]  # an int for each axis, from the first; fewer where a row or the whole buffer is used
    rest: tuple[ast.expr, ...] = ()  # what is left of the index
    is_plain: bool = False  # in the source the slots come first: only the name has to be replaced


@dataclass(frozen=True, slots=True)
class SlotWrite:
    """A write to one slot, or to a part of one."""

    write: Write
    access: SlotAccess


@dataclass(frozen=True, slots=True)
class Filling:
    """A `for` loop that writes every slot of a buffer once, in order, as the only thing it does to it."""

    loop: ast.For
    backwards: bool  # from the last slot to the first
    created: ast.stmt | None  # the statement that makes the buffer, where nothing else reads what it made
    is_single: bool  # the write is all that a round does
    leaves_target: bool  # the loop's variables are read after it


@dataclass(frozen=True, slots=True)
class Initial:
    """What the statements between the one that makes a buffer and the loop do with slots of it."""

    writes: tuple[SlotWrite, ...] = ()  # statements of the same block
    reads: tuple[SlotAccess, ...] = ()


@dataclass(frozen=True, slots=True)
class FilledBuffer:
    """A loop that writes a buffer slot by slot, each slot named by ints along the same axes."""

    loop: ast.For | ast.While
    name: ast.Name
    axes: tuple[int, ...]  # dimensions of the buffer, as indexed; negative behind an ellipsis
    shape: tuple[int | None, ...] | None  # of the buffer
    writes: tuple[SlotWrite, ...]  # in order; at least one of them is followed by autograd
    reads: tuple[SlotAccess, ...]  # of values; shape, dtype and the like don't count
    reads_metadata: bool
    has_slots: bool  # proven to have at least one slot along every axis
    filling: Filling | None
    refusal: str | None  # why the slots can't become a list; None when they can
    created: ast.Assign | None = None  # makes it in the same block, by a call; only `initial` names it before the loop
    initial: Initial = Initial()


@dataclass(frozen=True, slots=True)
class Piece:
    """A slot or a slice of a buffer, written once."""

    write: Write
    is_slot: bool  # one slot, named by an int
    has_shape: bool  # so has the value; else it is a single element
    is_alike: bool  # the value has the dtype and the device of the buffer, too


@dataclass(frozen=True, slots=True)
class FilledBlock:
    """Statements of one block that make a buffer and write every slot of one dimension once."""

    name: str
    created: ast.Assign
    axis: int  # the dimension; negative behind an ellipsis
    pieces: tuple[Piece, ...]  # in the order of the slots
    reads: tuple[tuple[ast.Subscript, int], ...]  # of pieces written before, each with the number of its piece
    between: tuple[ast.stmt, ...]  # from the first write to the last
    reads_metadata: bool
    kind: str | None = None  # the name of the tensor that gave the buffer dtype and device, where it still has it


@dataclass(frozen=True, slots=True)
class MaskedWrite:
    """A write under a mask of a value computed element by element from what stands under the same mask.

    Mask and tensors are proven to have the shape of the target, so that everything can be computed unmasked.
    """

    write: Write
    mask: ast.expr
    places: tuple[ast.Subscript, ...]  # `y[mask]`, `z[mask]` in the value
    reads_target: bool  # the value, or the augmented write itself, reads the target
    is_floating: bool  # the target was made by an operation whose results are never integers


@dataclass(frozen=True, slots=True)
class Masking:
    """One masked write, or two that follow each other under a mask and its inverse."""

    first: MaskedWrite
    inverse: MaskedWrite | None = None


@dataclass(frozen=True, slots=True)
class BackwardCall:
    """A call that starts backward."""

    node: ast.Call
    statement: ast.stmt
    function: str
    identity_ordinal: int
    root: ast.expr  # the tensor differentiated
    tensor: TensorFacts
    has_gradient: bool  # an explicit gradient argument is given
    severity: Severity | None  # None: no hazard
    hazards: tuple[Hazard, ...]
    elsewhere: Elsewhere | None = None  # the backward itself, when `node` calls a function of another file


@dataclass(frozen=True, slots=True)
class Swap:
    """An element is given a view of another one that was overwritten since the view was taken."""

    node: ast.Subscript  # the element
    statement: ast.stmt
    function: str
    identity_ordinal: int
    view: ast.Subscript  # the view, where it was taken
    earlier: ast.stmt  # the statement that overwrote what it shows


@dataclass(frozen=True, slots=True)
class Cut:
    """A place where the graph between the leaves and a loss ends."""

    kind: CutKind
    op: str  # "tensor", "new_tensor", "item", "float", "math.sqrt", "argmax", "==", "setitem", …
    node: ast.AST  # the call, attribute or comparison; the `with` statement or function of GRADIENTS_OFF
    statement: ast.stmt
    function: str
    identity_ordinal: int
    argument: ast.expr | None  # the expression whose value loses its graph
    value: ValueFacts | None  # of the first tensor cut
    parts: tuple[ValueFacts, ...]  # TENSOR of a list: of its items as written out, row by row, or of any item
    effect: CutEffect
    loss: Place
    same_function: bool  # the loss is computed in the function that cuts
    alone: bool  # nothing else cuts the same loss
    elsewhere: bool  # another loss, one with a graph, is computed from it, too
    through_numpy: bool  # what was cut went through an array
    in_numbers: bool  # it went into arithmetic of Python numbers
    fills: bool  # it went where torch takes numbers only: `torch.full(size, v)`
    is_fresh: bool  # nobody else holds what the argument makes
    may_be_number: bool  # on some ways a Python number stands there instead of a tensor
    value_changes: bool  # the memory of what is cut is written in place somewhere
    severity: Severity
    hazards: tuple[Hazard, ...]
    origin: Elsewhere | None = None  # where the graph ends, when `node` calls a function of another file
    asked: ast.AST | None = None  # what made the loss a leaf: `loss.requires_grad` that is set, `loss.requires_grad_()`


@dataclass(frozen=True, slots=True)
class Spelling:
    """How this module can spell torch: what rewrites may use without adding an import."""

    torch: str | None  # "torch", "th", …; None: no import of the package itself
    functional: str | None  # "F", "nn.functional", …
    names: tuple[tuple[str, str], ...]  # (local name, qualified name) of `from torch import where as w`
    import_line: int | None  # 1-based line after which `import torch` can be added
    text: str = field(default="", repr=False)  # of the module


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """Everything codemods may ask about one module."""

    writes: tuple[Write, ...]
    fills: tuple[ConditionalFill, ...]
    backward_calls: tuple[BackwardCall, ...]
    swaps: tuple[Swap, ...]
    second_backwards: tuple[SecondBackward, ...]
    non_leaf_grads: tuple[NonLeafGrad, ...]
    cuts: tuple[Cut, ...]
    spelling: Spelling
    buffers: tuple[FilledBuffer, ...] = ()
    blocks: tuple[FilledBlock, ...] = ()
    maskings: tuple[Masking, ...] = ()
    early_steps: tuple[EarlyStep, ...] = ()
    bare_ways: tuple[BareWay, ...] = ()
