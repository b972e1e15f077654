"""What gradfix says about code: hazards, findings, fixes, verdicts. Frozen values, nothing that prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from gradfix.edits import Edit
from gradfix.source import Source, Span


class HazardKind(Enum):
    """The definite ways in which code breaks differentiation."""

    SAVED_THEN_WRITTEN = "saved-then-written"  # an op saved the value, a later write bumps its version
    LEAF_WRITTEN = "leaf-written"  # in-place on a leaf that requires grad
    LEAF_VIEW_WRITTEN = "leaf-view-written"  # the same through a view
    MULTI_VIEW_WRITTEN = "multi-view-written"  # a view from unbind, split or chunk
    NO_GRAD_VIEW_WRITTEN = "no-grad-view-written"  # a view made under no_grad, written with grad on
    SILENT_WRITE = "silent-write"  # `.data` or NumPy sharing: no error, wrong gradient
    OUT_WRITTEN = "out-written"  # `out=` of an operation that should be differentiated
    DISCONNECTED = "disconnected"  # the loss no longer depends on a leaf
    EXPANDED_WRITTEN = "expanded-written"  # several elements share the memory that is written
    VMAP_WRITTEN = "vmap-written"  # what differs between the examples of a batch, written to what is one for all
    GRADIENT_WRITTEN = "gradient-written"  # a hook writes to a gradient that isn't its own
    NON_LEAF_GRAD = "non-leaf-grad"  # `.grad` of what was computed, or an optimizer over it
    SECOND_BACKWARD = "second-backward"  # backward through a graph that was freed
    NON_SCALAR_BACKWARD = "non-scalar-backward"  # backward() on a tensor with more than one element


class Severity(Enum):
    """What the static facts prove; never changed by what a run shows."""

    INFO = "info"  # harmless today
    WARNING = "warning"  # happens for some inputs or callers
    ERROR = "error"  # happens in every run that reaches it

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return _SEVERITIES.index(self)


_SEVERITIES = tuple(Severity)


class Applicability(Enum):
    """How far a fix may be applied without asking (ruff's words)."""

    SAFE = "safe"  # same values, dtype and visible side effects; right gradients
    UNSAFE = "unsafe"  # something another holder could see changes, or a judgement is needed
    DISPLAYONLY = "displayonly"


@dataclass(frozen=True, slots=True)
class Place:
    """A piece of the source with what happened there, e.g. "`exp` saved its result here"."""

    span: Span
    label: str


class Earlier(Enum):
    """In which passage something ran before what stands above it."""

    ROUND = "one round of the loop before"
    CALL = "in a call before"


@dataclass(frozen=True, slots=True)
class Hazard:
    """One way this code breaks backward, with both places, as the analysis sees it."""

    kind: HazardKind
    write: Place  # where the value is overwritten (for cuts and calls: where it happens)
    save: Place | None  # where autograd took the value it needs
    storage: str  # the user's name of the storage
    op: str | None = None  # the operation that took it, "exp", or that made a view
    of_base: bool = False  # a view of what is written makes the trouble, not the view that is written
    earlier: Earlier | None = None  # of a save that stands below the write


@dataclass(frozen=True, slots=True)
class Identity:
    """Names a finding across runs and edits: baselines, exclusions and suppressions use it."""

    code: str
    qualname: str  # dotted name of the enclosing function, "<module>" at top level
    fingerprint: str  # digest of the statement without layout
    ordinal: int  # which one of several equal statements in that function, from 0

    def __str__(self) -> str:
        return f"{self.code}:{self.qualname}:{self.fingerprint}:{self.ordinal}"


@dataclass(frozen=True, slots=True)
class Declined:
    """One fix of a finding that isn't to be made; another one of it may be."""

    identity: Identity
    title: str


Exclusion: TypeAlias = "Identity | Declined"  # every fix of a finding, or one


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A fix not built yet. `build` imports LibCST and returns the edits, or a `Refusal`."""

    title: str  # imperative, with the user's names: "Replace `y[0] = v` with `torch.select_scatter`"
    applicability: Applicability
    build: Callable[[Source], tuple[Edit, ...] | Refusal]
    form: str = ""  # which spelling of several it gives: "clone", "arithmetic", "saved-copy", …; policies prefer by it
    last_resort: bool = False  # offered only where no other safe fix can be built


class RefusalKind(Enum):
    """Why no fix is made, in short: a closed list. docs/refusals.md says what to do about each."""

    HELD = "held"  # somebody else holds the tensor, and would miss the write
    NOT_ASSIGNABLE = "not-assignable"  # nothing here can be given a new tensor
    SCOPE = "scope"  # the name belongs to another scope, or the code runs later
    LEAF = "leaf"  # a leaf that is updated, or whose gradient is read
    ORDER = "order"  # something would be evaluated in another order, or twice
    UNKNOWN = "unknown"  # a shape, a dtype, a size or the place of a cause isn't known
    SPELLING = "spelling"  # the statement can't be edited as it is spelled
    NO_FORM = "no-form"  # torch has no differentiable or out-of-place operation for it
    MEANING = "meaning"  # only its author can tell what is meant
    ELSEWHERE = "elsewhere"  # the cause stands in another place, which can't be edited from here
    ASKS = "asks"  # there is a fix, but not one that is made without asking
    REJECTED = "rejected"  # there is a fix, but the backward check didn't let it pass
    HARMLESS = "harmless"  # the write breaks nothing, and no form without it is known to be equal


_NEXT_ACTS = {
    RefusalKind.HELD: "make the new tensor where all who hold it can be given it",
    RefusalKind.NOT_ASSIGNABLE: "store the tensor under a name first",
    RefusalKind.SCOPE: "pass the tensor in and return it",
    RefusalKind.LEAF: "work on a copy under a name of its own, or update it after backward, under `torch.no_grad()`",
    RefusalKind.ORDER: "give values and indices names in statements before",
    RefusalKind.UNKNOWN: "clone the tensor before the write, or compute it out of place by hand",
    RefusalKind.SPELLING: "put the write into a plain statement of its own",
    RefusalKind.NO_FORM: "use a differentiable operation instead",
    RefusalKind.MEANING: "decide what is meant, and write it out",
    RefusalKind.ELSEWHERE: "change it at the other place",
    RefusalKind.ASKS: "read it, then apply it with `--unsafe-fixes` or by hand",
    RefusalKind.REJECTED: "`--keep-failed` keeps both texts and what their runs computed",
    RefusalKind.HARMLESS: "leave it as it is",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no fix is offered, and the next best act."""

    kind: RefusalKind
    reason: str
    advice: str | None = None  # for this very place

    @property
    def next_act(self) -> str:
        """What to do instead: the advice, else what fits the kind."""
        return self.advice or _NEXT_ACTS[self.kind]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing gradfix has to say about one place."""

    code: str
    name: str  # the codemod's slug
    severity: Severity
    message: str
    span: Span
    identity: Identity
    hazard: Hazard | None  # None: a harmless write
    rewrites: tuple[Rewrite, ...] = ()  # best first; the others are alternatives
    refusal: Refusal | None = None  # set when no rewrite can be offered
    leads: tuple[Span, ...] = ()  # places of findings of other codemods that this one speaks for

    @property
    def order(self) -> tuple[int, int, str]:
        """What findings of one file are sorted by: their place, then their code."""
        return self.span.start, self.span.end, self.code


@dataclass(frozen=True, slots=True)
class Fix:
    """A built rewrite: edits of the original text."""

    title: str
    applicability: Applicability
    edits: tuple[Edit, ...]


class Verdict(Enum):
    """What the backward check found out about a fix."""

    FIXED = "fixed"  # failed before, right after
    EQUIVALENT = "equivalent"  # worked before, same after
    REJECTED = "rejected"  # differs or fails after
    NOT_EXERCISED = "not-exercised"  # the changed lines didn't run
    NOT_REPRODUCED = "not-reproduced"  # the hazard was predicted but no run showed it
    UNCHECKED = "unchecked"  # couldn't be judged; the reason says why


BUDGET_SPENT = "the budget of the check is spent"  # why a fix is unchecked that another run would judge


@dataclass(frozen=True, slots=True)
class Cost:
    """What the original and the rewritten text take for the same work, each measured in runs of its own."""

    seconds: tuple[float, float]  # before, after; the best of a few runs
    memory: tuple[int, int]  # the same of the peak, in bytes beyond what the interpreter takes with torch alone


@dataclass(frozen=True, slots=True)
class Shown:
    """Which of the changed lines ran in the pairs of runs that count, and what broke backward there."""

    before: frozenset[int]  # lines of the original
    after: frozenset[int]  # lines of the rewritten text
    conflicts: tuple[tuple[str, range], ...] = ()  # of the original, where it was traced: kind, and lines of the write
    missed: frozenset[int] = frozenset()  # changed lines of the rewritten text that hold code, and never ran


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its evidence."""

    verdict: Verdict
    reason: str  # one line for the user: what was compared, or what went wrong
    ran: str | None = None  # "program" or the text of the declared call
    error_before: str | None = None  # the error the original raised, first line
    oracle: str | None = None  # where the reference gradients came from
    runs: int = 0  # pairs of runs compared
    max_difference: float | None = None  # largest absolute gradient difference, in the gradient's own unit
    notes: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()  # conflicts of other writes that the program still raises
    cost: Cost | None = None  # of a proven fix, where it could be measured
    shown: Shown | None = field(default=None, compare=False)  # None: nobody knows which lines ran
