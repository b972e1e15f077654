"""What a run, and the server that makes it, say to the check: JSON objects, one a line.

They are written on one side by these types. The other side reads them by the same, and converts all it takes: the
user's code may have written to the descriptors, too.
"""

from __future__ import annotations

from typing import Any, TypedDict, Union

from gradfix.tracer.messages import ConflictMessage

BEGUN = b'{"begun": true}\n'  # what a run says first: its time counts from here
BETWEEN = "\x1e\x1e\x1e\n"  # in what a process prints: here the next of its runs begins
NARROW = "float32 written into the code"  # less exact than the differences it would be held against
NUMBERS = "numbers taken from tensors"  # among what stopped gradients; often only to be printed
BEHIND = "a write that autograd doesn't see"  # what it leaves is no constant
PLACELESS = "a cut in another place than where it was told"  # Python 3.10 knows no columns
GRAPH = "a graph in the watched lines"
ASTRAY = "another way through the code"
MORE = "…"  # among what a run left: there was more than is told
ARGUMENT = "argument "  # with a number: the path to what was handed over …
RESULT = "tensor of the result no. "  # … and to what was given
GRADIENT = ".grad"  # ends the path to the gradient of a leaf
IDENTITY = " as an object"  # ends the path to a leaf that was put in the place of another
AGAIN = " after a second call"  # ends the path to a value; alone, how that call ended: "" where it gave something
THIRD = " after a third call"  # the same
LATER = tuple(f" after call {number}" for number in range(4, 13))  # the same
PASSED = " after the backward pass"  # ends the path to a value that the pass has changed
TWICE = "the gradients"  # what is told under it are gradients of gradients
FILE = "file "  # begins the path to what is in a file …
ENVIRONMENT = "os.environ"  # … to a variable of the environment
FILTERS = "warnings.filters"
UNSHARED = ".__closure__"  # in the path to a value, as the next: only those that both runs have count
FRAME = ".gi_frame"


class ErrorMessage(TypedDict):
    """An exception of the user's code."""

    type: str
    message: str
    line: int | None  # in the file, where the exception passed through it


class TensorMessage(TypedDict, total=False):
    """A tensor: `data` in `code` of a small one, digest and projections of a large one, neither of a wrapper."""

    dtype: str
    shape: list[int]
    requires_grad: bool
    strides: list[int]  # of what a call gives
    layout: str  # where it isn't strided
    code: str  # of the module `array`
    data: str  # base64
    digest: str
    norm: float
    projections: list[float]
    nans: int


class LeafMessage(TypedDict):
    """A leaf that a pass reached."""

    names: list[str]
    key: str  # type, shape and digest of its content before the pass
    gradient: TensorMessage | None


StateMessage = Union[TensorMessage, str]


class EventMessage(TypedDict, total=False):
    """One backward pass."""

    kind: str
    line: int | None
    rng: str
    roots: list[TensorMessage]
    leaves: list[LeafMessage]
    error: ErrorMessage | None
    stops: list[str]
    executed: list[int]
    objective: float  # this and the others only where they were asked for
    derivatives: list[float]
    unmoved: int


class OutcomeMessage(TypedDict):
    """What a call left and gave."""

    arguments: list[TensorMessage]
    results: list[TensorMessage]
    state: dict[str, StateMessage]  # what is left for others, by the expression that leads to it
    gradients: dict[str, Union[list[LeafMessage], ErrorMessage]]  # through what is left, and a second call
    sharing: list[tuple[str, str]] | None  # paths to tensors that share memory, in pairs; None: not looked at
    passes: int  # backward passes before that
    rng: str  # how it left the generators


class _Ended(OutcomeMessage):
    error: ErrorMessage | None
    stopped: bool
    executed: list[int]
    executable: list[int]
    stops: list[str]
    conflicts: list[ConflictMessage]
    seconds: float
    memory: int
    used: list[str]  # installed modules that the server had not


class EndedMessage(_Ended, total=False):
    """How a run ended."""

    code: int  # of a command
    forked: bool  # two processes went on in it


SILENT: EndedMessage = {
    "error": None,
    "stopped": False,
    "executed": [],
    "executable": [],
    "rng": "",
    "stops": [],
    "conflicts": [],
    "arguments": [],
    "results": [],
    "state": {},
    "gradients": {},
    "sharing": None,
    "passes": 0,
    "seconds": 0.0,
    "memory": 0,
    "used": [],
}  # the end of a run in which nothing was observed


class FoundMessage(TypedDict):
    """What a search came to."""

    calls: list[str | None]
    reached: list[bool]
    failure: str
    tries: int


class Said(TypedDict, total=False):
    """One line of a run: one of these."""

    begun: bool
    event: EventMessage
    found: FoundMessage
    caught: ErrorMessage  # came by in the user's code, outside of a pass
    ended: EndedMessage
    refused: str


class UseMessage(TypedDict, total=False):
    """What a process of a run used, as the one that watched it says."""

    seconds: float
    killed: str | None  # the bound it broke
    status: int  # exit code, or minus the signal
    left: int  # processes that were still there
    output: str
    errors: str


class Answer(UseMessage, total=False):
    """A line of the server: it is ready, it starts over, it can't, or a run has ended."""

    protocol: int
    walls: list[str]
    fresh: bool  # each run imports torch itself
    refused: str
    end: int  # the number of the request


class Config(TypedDict, total=False):
    """How `start.py` is to start: as the server, or with `request` for that one run."""

    python: str
    limits: dict[str, Any]  # the fields of a `Limits`
    scratch: str
    requests: int  # descriptors: where requests are read …
    replies: int  # … and answered
    lifeline: int  # … and what the check holds the other end of
    trust: bool  # run also where no wall stands
    without: list[str]  # walls to leave out
    walls: list[str]  # that stand; only behind them
    own_pids: bool
    fresh: bool  # each run imports torch itself
    request: str  # files: the request of one run …
    report: str  # … and where it reports
    place: str  # the directory of that run
