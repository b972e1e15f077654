"""Calls for code that nothing calls: what the texts say, how guesses are mended, and what the search comes up with."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from labelled_corpus import load

pytest.importorskip("torch")

from lending import Lender

from gradfix import registry
from gradfix.backward.cases import DeclaredCall
from gradfix.backward.checker import Checker
from gradfix.backward.synthesis import Calls
from gradfix.backward.worker.synthesis import messages as worker_messages
from gradfix.backward.worker.synthesis import parameters as worker_parameters
from gradfix.backward.worker.synthesis import routes as worker_routes
from gradfix.backward.worker.synthesis.clues import Clue
from gradfix.backward.worker.synthesis.guesses import Context, guesses
from gradfix.backward.worker.synthesis.repairs import Failure
from gradfix.backward.worker.synthesis.values import Argument, Call, Fields, Plain, Several, Stage, Tensor
from gradfix.command_line import run
from gradfix.engine.engine import Policy
from gradfix.findings import Applicability, HazardKind, Judgement, Severity, Verdict
from gradfix.proof.plan import Loaded, Plan, Rules
from gradfix.source import Source

PATH = Path("/nowhere/library.py")
SAVED = frozenset({HazardKind.SAVED_THEN_WRITTEN})
OF_TENSORS = frozenset({"shape", "exp", "size", "permute", "view"})


@pytest.fixture(scope="module")
def checker(lender: Lender) -> Iterator[Checker]:
    with lender.checker() as one:
        yield one


def sought(checker: Checker, text: str) -> Calls:
    """A call that reaches the lines marked `# <-`."""
    text = textwrap.dedent(text)
    lines = frozenset(n for n, line in enumerate(text.splitlines(), 1) if "# <-" in line)
    assert lines
    return checker.find_calls(PATH, f"{text}\n", "f", [min(lines)], [lines], SAVED)


# What texts say.


def clue(text: str, name: str) -> Clue:
    (function,) = ast.parse(textwrap.dedent(text)).body
    assert isinstance(function, ast.FunctionDef)
    return worker_parameters.clues(function, {"MODES": ["fast", "slow"]}, OF_TENSORS)[name]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("def f(x: torch.Tensor): ...", "tensor"),
        ("def f(x: Optional[LongTensor] = None): ...", "long"),
        ("def f(x: Bool[Tensor, 'b n']): ...", "bool_tensor"),
        ("def f(x: list[Tensor]): ...", "list"),
        ("def f(x: tuple[()]): ...", "list"),
        ("def f(x: Callable[[Tensor], Tensor]): ...", "callable"),
        ("def f(x): return range(x)", "int"),
        ("def f(x): return x['image']", "dict"),
        ("def f(x): return MODES[x]", "str"),
        ("def f(x): return x == 'mean'", "str"),
        ("def f(x): return x.hidden_size", "object"),
        ("def f(x): return x(1)", "callable"),
        ("def f(x, y): return F.cross_entropy(y, x)", "long"),
        ("def f(x): return x.exp()", "tensor"),
    ],
)
def test_kinds_come_from_annotations_and_uses(text: str, kind: str) -> None:
    assert clue(text, "x").likely(of_class=False)[0] == kind


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("def f(x):\n    b, c, h, w = x.shape", 4),
        ("def f(x):\n    b, n = x.size()", 2),
        ("def f(x: Float[Tensor, 'b n d']): ...", 3),
        ("def f(x):\n    return x.permute(0, 2, 1)", 3),
        ('def f(x):\n    """Do.\n\n    Args:\n        x: images of shape (N, C, H, W)\n    """', 4),
    ],
)
def test_ranks_come_from_what_is_unpacked_annotated_or_documented(text: str, rank: int) -> None:
    assert clue(text, "x").ranks.most_common(1)[0][0] == rank


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(x):\n    for a, b in x: a.exp() + b.exp()", "[(randn(4, 4), randn(4, 4)), "),
        ("def f(x):\n    for i, (a, n) in enumerate(x): range(n) + a.exp()", "[(randn(4, 4), 4), "),
        ("def f(x):\n    return torch.stack([s['y'] for s in x])", "[{'y': randn(4, 4)}, "),
        ("def f(x):\n    for name, ps in x.items():\n        for a, b in ps: a.exp() * b", "{'a': [(randn(4, 4), "),
        ("def f(x, y):\n    for name in y.keys(): x[name].exp()", "{'a': randn(4, 4)}"),
        ("def f(x):\n    h, c = x\n    return h.exp() + c.exp()", "(randn(4, 4), randn(4, 4))"),
        ("def f(x: List[Tuple[Tensor, Tensor]]): ...", "[(randn(4, 4), randn(4, 4)), "),
        ("def f(x: dict[str, list[float]]): ...", "{'a': [0.5, 0.5, 0.5]}"),
        ("def f(x):\n    return ' '.join(x)", "['relu', 'relu', 'relu']"),
        ("def f(x):\n    return x.model.width * x.train.layers", "SimpleNamespace(model=SimpleNamespace(width=4), "),
        ("def f(x):\n    return x(1, 2)", "lambda *args: tanh(args[1])"),
    ],
)
def test_what_a_parameter_holds_comes_from_what_is_done_to_that(text: str, expected: str) -> None:
    first = guesses("x", clue(text, "x"), Context(of_class=False))[0]
    assert first.text.startswith(expected)


DOCUMENTED = '''
class Blur:
    """Blurs.

    Args:
        border: how it goes on beyond the edges, one of ``'reflect'``
            or ``'circular'``.

    Not for ``'video'``.
    """
    def __init__(self, border: str, order):
        self.border, self.order = border, order
'''


def test_texts_to_choose_from_come_from_the_paragraph_of_a_parameter() -> None:
    (owner,) = ast.parse(DOCUMENTED).body
    assert isinstance(owner, ast.ClassDef)
    function = owner.body[1]
    assert isinstance(function, ast.FunctionDef)
    known = worker_parameters.clues(function, {}, OF_TENSORS, owner)
    assert (known["border"].choices, known["order"].choices) == (["reflect", "circular"], [])


def test_a_name_bound_to_its_own_items_again_and_again_is_followed_for_a_while_only() -> None:
    found = clue("def f(x):\n" + "    for x in x: x.exp()\n" * 60, "x")
    assert found.item is not None
    assert {"list", "tensor"} <= set(found.kinds)


def test_what_a_constructor_keeps_is_followed_into_methods() -> None:
    (owner,) = ast.parse(
        textwrap.dedent("""\
        class Net:
            def __init__(self, cfg):
                self.cfg = cfg

            def forward(self, x):
                for lo, hi in self.cfg.bands:
                    x = x[lo:hi]
                return x
        """)
    ).body
    assert isinstance(owner, ast.ClassDef)
    function = owner.body[0]
    assert isinstance(function, ast.FunctionDef)
    found = worker_parameters.clues(function, {}, OF_TENSORS, owner)["cfg"]
    assert guesses("cfg", found, Context(of_class=True))[0].text.startswith("SimpleNamespace(bands=[(4, 4), (4, 4), ")


def test_ways_lead_through_forward_callers_and_subclasses() -> None:
    tree = ast.parse(
        textwrap.dedent("""\
        class Base(nn.Module):
            def forward(self, x):
                return self.project(x)
            def _scale(self, x):
                return x
            def project(self, x):
                raise NotImplementedError

        class Net(Base):
            def project(self, x):
                return self._scale(x)

        def _helper(x):
            return x

        def public(x):
            return _helper(x)
        """)
    )
    ways = [way.text for way in worker_routes.routes(tree, [5])]
    assert ways[0] == "Net.project"
    assert ways[-2:] == ["Net._scale", "Base._scale"]
    assert [way.text for way in worker_routes.routes(tree, [14])] == ["public", "_helper"]
    assert [way.text for way in worker_routes.routes(tree, [17])] == ["public"]
    assert worker_routes.routes(tree, [1]) == []


# How guesses are mended.


def test_a_call_is_spelled_as_somebody_would() -> None:
    arguments = (
        Argument("x", Tensor((2, 3))),
        Argument("scale", Plain(1.0), left_out=True),
        Argument("mask", Tensor((2, 3), "bool")),
        Argument("rest", Several((Tensor((1,)),)), star="*", left_out=True),
    )
    call = Call("Net", (Stage("", (Argument("dim", Plain(4)),)), Stage(".loss", arguments)))
    assert call.text == "Net(4).loss(randn(2, 3), mask=rand(2, 3) > 0.5)"
    assert call.without((1, 2)).text == "Net(4).loss(randn(2, 3))"
    space = Fields((("d", Plain(1)),), "SimpleNamespace")
    assert call.at((0, 0), space).at((0, 0, 0), Plain(2)).text.startswith("Net(SimpleNamespace(d=2))")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("mat1 and mat2 shapes cannot be multiplied (4x4 and 10x2)", "f(randn(4, 10))"),
        (
            "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [4, 4]",
            "f(randn(4, 4, 4, 4))",
        ),
        ("not enough values to unpack (expected 3, got 2)", "f(randn(4, 4, 4))"),
        ("Dimension out of range (expected to be in range of [-2, 1], but got 2)", "f(randn(4, 4, 4))"),
        ("Given normalized_shape=[6], expected input with shape [*, 6]", "f(randn(4, 6))"),
        ("expected scalar type Long but found Float", "f(randint(4, (4, 4)))"),
        ("'Tensor' object has no attribute 'items'", "f({'a': randn(4, 4)})"),
    ],
)
def test_errors_say_what_to_change(message: str, expected: str) -> None:
    call = Call("f", (Stage("", (Argument("x", Tensor((4, 4))),)),))
    texts = [one.text for one in worker_messages.repairs(call, Failure("RuntimeError", message, frozenset({"x"})))]
    assert expected in texts[:4], texts


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Shape dimension mismatch: expected 3 dimensions, got 2.", "f(randn(4, 4, 4))"),
        ("Shape mismatch at dimension 1: expected 3, got 4.", "f(randn(4, 3))"),
        ("Wrong.\n  Expected shape: ['B', '3', 'H']\n  Actual shape: [4, 4]", "f(randn(4, 3, 4))"),
        ("the weights must be of shape (B,)", "f(randn(4))"),
        ("'x' needs to be three-dimensional (got 2 dimensions)", "f(randn(4, 4, 4))"),
        ("Input is supposed to be a vector", "f(randn(4))"),
        ("only 3-dimensional input is allowed", "f(randn(4, 4, 4))"),
        ("the number of channels must be 6, got 4", "f(randn(4, 6))"),
        ("Only nn.Module are supported at this moment", "f(nn.Linear(4, 4))"),
        ("sigma must be positive, got tensor", "f(rand(4, 4))"),
        ("Not a color tensor. Got shape [4, 4]", "f(randn(4, 4, 4))"),
        ("arange() received an invalid combination of arguments - got (Tensor, device=cpu)", "f(4)"),
        ("Boolean value of Tensor with more than one value is ambiguous", "f(4)"),
        ("Expected values to be greater or equal to 0, got -4.09", "f(rand(4, 4))"),
        ("Timesteps should be a 1d-array", "f(randn(4))"),
        ("boundaries tensor must be 1 dimension, but got dim(2)", "f(randn(4))"),
        ("Input size (4*4) doesn't match model (32*32).", "f(randn(32, 32))"),
    ],
)
def test_messages_of_a_library_say_what_to_change(message: str, expected: str) -> None:
    call = Call("f", (Stage("", (Argument("x", Tensor((4, 4))),)),))
    texts = [one.text for one in worker_messages.repairs(call, Failure("ShapeError", message, frozenset({"x"})))]
    assert expected in texts[:4], texts


def test_one_number_becomes_as_many_as_a_message_asks_for() -> None:
    call = Call("f", (Stage("", (Argument("size", Plain(4)),)),))
    failure = Failure("TypeError", "`size` must be a three-element sequence of integers. Got 4.", frozenset({"size"}))
    assert "f((4, 4, 4))" in [one.text for one in worker_messages.repairs(call, failure)]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("IndexError: list index out of range", "f([4, 4, 4, 4, 4, 4], 4)(randn(4, 4, 4, 4))"),
        ("RuntimeError: got weight of size [0, 4, 1, 1] instead", "f([32, 32, 32], 32)(randn(4, 32, 4, 4))"),
        (
            "RuntimeError: The size of tensor a (16) must match the size of tensor b (4) at non-singleton dimension 1",
            "f([4, 4, 4], 16)(randn(4, 16, 4, 4))",
        ),
    ],
)
def test_lists_and_widths_change_with_what_depends_on_them(message: str, expected: str) -> None:
    widths = Stage("", (Argument("levels", Several((Plain(4),) * 3)), Argument("width", Plain(4))))
    call = Call("f", (widths, Stage("", (Argument("x", Tensor((4, 4, 4, 4))),))))
    failure = Failure(*message.split(": ", 1), frozenset())
    assert expected in [one.text for one in worker_messages.repairs(call, failure)]


def test_what_a_failing_statement_depends_on_is_changed_before_anything_else() -> None:
    call = Call("f", (Stage("", (Argument("x", Tensor((4, 4))), Argument("y", Tensor((4, 4))))),))
    failure = Failure("RuntimeError", "expected 3 dimensions", frozenset({"y"}))
    texts = [one.text for one in worker_messages.repairs(call, failure)]
    assert texts.index("f(randn(4, 4), randn(4, 4, 4))") < texts.index("f(randn(4, 4, 4), randn(4, 4))")


# What the search comes up with.


def test_shapes_kinds_and_settings_are_found(checker: Checker) -> None:
    found = sought(
        checker,
        """
        import torch
        from torch import nn

        class Pool(nn.Module):
            def __init__(self, config, heads=2):
                super().__init__()
                assert config.width % heads == 0
                self.embed = nn.Embedding(config.vocabulary, config.width)
                self.conv = nn.Conv1d(config.width, 6, 3)
                self.out = nn.Linear(6, 5)
                self.mode = config.mode

            def forward(self, batch):
                h = self.embed(batch["tokens"])
                b, n, d = h.shape
                h = self.conv(h.transpose(1, 2)).sigmoid()
                h[~batch["keep"]] = 0.0  # <-
                return self.out(h.mean(-1))
        """,
    )
    (call,) = found.calls
    assert call is not None, found.reason
    assert call.startswith("Pool(SimpleNamespace(")
    assert "'tokens': randint(" in call


IN_A_LOOP = """
import torch
from torch import nn
def f(z, n_steps):
    y = z.new_zeros(n_steps, 2)  # <-
    y[0] = z
    for t in range(1, n_steps):
        a, b = y[t - 1]
        y[t] = torch.stack([a * b, a - b])
    return y
"""
DOWN_A_PYRAMID = """
import torch
from torch import nn
class Pyramid(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv1d(c, c, 1) for _ in range(3))
    def forward(self, levels):
        feats = [conv(x).exp() for conv, x in zip(self.lateral, levels)]  # <-
        for i in range(len(feats) - 1, 0, -1):
            feats[i - 1] += nn.functional.interpolate(feats[i], scale_factor=2)
        return feats
"""


@pytest.mark.parametrize(("text", "write"), [(IN_A_LOOP, "y[t] ="), (DOWN_A_PYRAMID, "feats[i - 1] +=")])
def test_a_call_is_large_enough_for_the_write_to_run(text: str, write: str, checker: Checker) -> None:
    numbered = list(enumerate(text.splitlines(), 1))
    target, writes = (frozenset(n for n, line in numbered if mark in line) for mark in ("# <-", write))
    (call,) = checker.find_calls(PATH, text, "f", [min(target)], [target], SAVED, [writes]).calls
    assert call is not None
    after = text.replace("return", "feats = None\n    return", 1)
    judgement = checker.judge(PATH, text, after, DeclaredCall(call), writes, writes)
    assert judgement.error_before is not None
    assert "inplace" in judgement.error_before


def test_what_is_in_one_list_changes_together() -> None:
    call = Call("f", (Stage("", (Argument("xs", Several((Tensor((4, 4)),) * 2)), Argument("y", Tensor((4, 4))))),))
    failure = Failure("RuntimeError", "Only 3D, 4D and 5D input Tensors supported (got 2D)", frozenset({"xs"}))
    first = next(iter(worker_messages.repairs(call, failure)))
    assert first.text == "f([randn(4, 4, 4), randn(4, 4, 4)], randn(4, 4))"


def test_items_that_are_alike_change_alike() -> None:
    pair = Several((Tensor((4, 4)), Tensor((4, 4))), is_list=False)
    call = Call("f", (Stage("", (Argument("xs", Several((pair,) * 2)),)),))
    failure = Failure("RuntimeError", "expected scalar type Long but found Float", frozenset({"xs"}))
    texts = [one.text for one in worker_messages.repairs(call, failure)]
    assert "f([(randint(4, (4, 4)), randn(4, 4)), (randint(4, (4, 4)), randn(4, 4))])" in texts


OF_RECORDS = """
import torch
from dataclasses import dataclass
@dataclass
class Step:
    logits: torch.Tensor
    actions: torch.Tensor
    reward: float
def f(rollout):
    loss = 0.0
    for step in rollout:
        p = torch.softmax(step.logits, -1)
        p += 1e-8  # <-
        loss = loss - step.reward * p.gather(-1, step.actions.unsqueeze(-1)).log().sum()
    return loss
"""


def test_a_list_of_records_is_made_up(checker: Checker) -> None:
    (call,) = sought(checker, OF_RECORDS).calls
    assert call is not None
    assert "f([Step(logits=" in call


def test_a_call_without_anything_that_needs_gradients_shows_nothing(checker: Checker) -> None:
    text = """
        import torch
        def f(slack):
            total = torch.zeros(())
            for s in slack:
                if s > 1:
                    total += (s - 1) ** 2  # <-
            return total
        """
    lines = frozenset({6})
    kinds = frozenset({HazardKind.DISCONNECTED})
    (call,) = checker.find_calls(PATH, textwrap.dedent(text).lstrip(), "f", [6], [lines], kinds).calls
    assert call is not None
    assert "rand" in call


def test_a_closure_a_private_helper_and_a_coroutine_are_reached(checker: Checker) -> None:
    closure = """\
        import torch
        def f(scale):
            def g(x):
                y = x.exp()
                y *= scale  # <-
                return y
            return g
        """
    private = """\
        import torch
        def _f(s):
            s.y += s.x  # <-
        class S:
            def __init__(self, x):
                self.x, self.y = x, x.exp()
        def g(x):
            s = S(x)
            _f(s)
            return s.y
        """
    coroutine = """\
        import torch
        async def f(x):
            y = x.exp()
            y[0] = 0  # <-
            return y
        """
    for text in (closure, private, coroutine):
        (call,) = sought(checker, text).calls
        assert call is not None, text


def test_the_same_file_gives_the_same_call(checker: Checker) -> None:
    text = "import torch\ndef f(x, w, idx):\n    y = (x @ w).exp()\n    y[idx] += 1  # <-\n    return y\n"
    one, other = sought(checker, text), sought(checker, text)
    assert one.calls == other.calls != (None,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # the first has a leaf of its own, the second a module; the third differentiates what it is given
        ("def f(x):\n    x = x.clone().requires_grad_()\n    (x * x).sum().backward()  # <-", "f(data(randn(5, 4)))"),
        ("def f(net: nn.Linear, x):\n    net(x).exp().sum().backward()  # <-", "f(nn.Linear(4, 4), data(randn(5, 4)))"),
        ("def f(x):\n    (x * x).sum().backward()  # <-", "f(randn(5, 4))"),
        ("def f(x):\n    torch.tensor(float(x.sum()) * 2).backward()  # <-", "f(randn(5, 4))"),
    ],
)
def test_only_what_differentiates_something_of_its_own_is_given_data(
    text: str, expected: str, checker: Checker
) -> None:
    kinds = frozenset({HazardKind.DISCONNECTED})
    text = f"import torch\nfrom torch import nn\n{text}\n"
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "# <-" in one)
    assert checker.find_calls(PATH, text, "f", [line], [frozenset({line})], kinds).calls == (expected,)


def test_why_there_is_no_call_is_told(checker: Checker) -> None:
    importing = sought(checker, "import torch\nimport nowhere_to_be_found\ndef f(x):\n    x += 1  # <-\n    return x\n")
    assert importing.calls == (None,)
    assert "importing the file raises ModuleNotFoundError" in importing.reason
    leaving = sought(checker, "import os\ndef f(x):\n    os._exit(3)\n    x += 1  # <-\n    return x\n")
    assert leaving.reason == "no call of `f` was found to run: the search ended the interpreter"
    endless = sought(checker, "def f(x):\n    while True:\n        pass\n    x += 1  # <-\n    return x\n")
    assert endless.calls == (None,)


@pytest.mark.parametrize(
    "name",
    [
        "async_forward",
        "closure_over_buffer",
        "edge_update_dict_of_types",
        "gcn_self_loops",
        "lotka_volterra_states",
        "parameter_mask_pruned",
        "transformer_layer_norm_first",
    ],
)
def test_labelled_files_are_proven_without_a_declared_call(name: str, checker: Checker) -> None:
    """`python -m tests.synthesis.measure` does it for all of them."""
    (file,) = [one for one in load() if one.name == name]
    rules = Rules(registry.builtin(), Policy(Severity.WARNING, Applicability.UNSAFE))
    loaded = Loaded(f"/nowhere/{name}.py", Source.from_text(f"/nowhere/{name}.py", file.text))
    (planned,) = run.plan(rules, [loaded], lambda path: ())
    assert isinstance(planned, Plan)
    result = run.prove(rules, planned, checker, proven=True)
    verdicts = [one.judgement.verdict for one in result.results if one.judgement is not None]
    assert verdicts
    assert set(verdicts) <= {Verdict.FIXED, Verdict.EQUIVALENT}


def judged(checker: Checker, before: str, after: str, call: str) -> Judgement:
    lines = frozenset({4})
    return checker.judge(PATH, before, after, DeclaredCall(call, synthesised=True), lines, lines)


def test_a_found_call_is_judged_like_a_declared_one(checker: Checker) -> None:
    text = "import torch\ndef f(x, k):\n    y = x.exp()\n    y[k] = 0  # <-\n    return y\n"
    (call,) = sought(checker, text).calls
    assert call is not None
    right = judged(checker, text, text.replace("y[k] = 0", "y = y.clone(); y[k] = 0"), call)
    wrong = judged(checker, text, text.replace("y[k] = 0", "y = y.clone(); y[0] = 0"), call)
    assert (right.verdict, right.ran) == (Verdict.FIXED, f"`{call}`, synthesised")
    assert wrong.verdict is Verdict.REJECTED


def test_what_a_call_leaves_behind_is_differentiated_where_it_returns_nothing(checker: Checker) -> None:
    before = "import torch\ndef f(x):\n    y = x.exp()\n    y += x\n    x.copy_(y * y)\n"
    after = before.replace("y += x", "y = y + x")
    wrong = before.replace("y += x", "y = y + 2 * x")
    assert judged(checker, before, after, "f(randn(3))").verdict is Verdict.FIXED
    assert judged(checker, before, wrong, "f(randn(3))").verdict is Verdict.REJECTED


BUFFERS = """\
import torch
from torch import nn
class Bias(nn.Module):
    def __init__(self, dim, size):
        super().__init__()
        self.linear, self.size = nn.Linear(dim, dim), size
        self.fill()
    def fill(self):
        offsets = torch.arange(self.size)[:, None] - torch.arange(self.size)
        offsets[:, 0] += self.size - 1  # <-
        self.register_buffer("offsets", offsets)
"""
INDICES = """\
import torch
def f(size):
    offsets = torch.arange(size)[:, None] - torch.arange(size)
    offsets[:, 0] += size - 1  # <-
    return offsets
"""


@pytest.mark.parametrize("text", [BUFFERS, INDICES])
def test_whole_numbers_that_a_call_gives_or_leaves_are_compared(text: str, checker: Checker) -> None:
    (line,) = (number for number, one in enumerate(text.splitlines(), 1) if "# <-" in one)
    lines = frozenset({line})
    (call,) = checker.find_calls(PATH, text, "fill", [line], [lines], frozenset()).calls
    assert call is not None
    right = text.replace("offsets[:, 0] +=", "offsets[:, 0] = offsets[:, 0] +")
    wrong = text.replace("offsets[:, 0] +=", "offsets[:, 0] -=")
    verdicts = [
        checker.judge(PATH, text, after, DeclaredCall(call, synthesised=True), lines, lines).verdict
        for after in (right, wrong)
    ]
    assert verdicts == [Verdict.EQUIVALENT, Verdict.REJECTED]


def test_a_call_that_leaves_nothing_shows_nothing(checker: Checker) -> None:
    text = INDICES.replace("    return offsets\n", "")
    lines = frozenset({4})
    assert checker.find_calls(PATH, text, "f", [4], [lines], frozenset()).reached == 0
    after = text.replace("offsets[:, 0] +=", "offsets[:, 0] -=")
    assert checker.judge(PATH, text, after, DeclaredCall("f(4)"), lines, lines).verdict is Verdict.UNCHECKED


def test_data_has_no_graph(checker: Checker) -> None:
    before = "import torch\ndef f(x, w):\n    assert not x.requires_grad\n    y = w.exp(); y += x\n    return y\n"
    after = before.replace("y += x", "y = y + x")
    call = "f(data(randn(3)), randn(3))"
    assert judged(checker, before, after, call).verdict is Verdict.FIXED
    only_in_larger_data = before.replace("y += x", "y = y + x.clamp(-3, 3)")
    assert judged(checker, before, only_in_larger_data, call).verdict is Verdict.REJECTED


SEVERAL = """\
import torch
from torch import nn


def norm_(x):
    x /= x.norm(dim=-1, keepdim=True) + 1e-6
    return x


class Gate(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.a = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        q, k = self.a(x).chunk(2, -1)
        q *= 2
        y = (q * k).softmax(-1)
        if mask is not None:
            y[mask] = 0
        y /= y.sum(-1, keepdim=True)
        return norm_(self.out(y))
"""


def test_fixes_of_several_hazards_and_of_a_helper_that_changes_its_argument(checker: Checker) -> None:
    """The helper, called by itself, must still change what it is given: of its fixes the one that does is right.

    The others are judged while its conflict is still there, in a text where a line is put in before another.
    """
    source = Source.from_text(str(PATH), SEVERAL)
    rules = Rules(registry.builtin(), Policy())
    (planned,) = run.plan(rules, [Loaded(str(PATH), source)], lambda path: ())
    assert isinstance(planned, Plan)
    proven = run.prove(rules, planned, checker, proven=False)
    told = {source.line_text(source.position(r.finding.span.start).line).strip(): r for r in proven.results}
    assert [(line, r.judgement and r.judgement.verdict) for line, r in told.items()] == [
        ("x /= x.norm(dim=-1, keepdim=True) + 1e-6", Verdict.FIXED),
        ("q *= 2", Verdict.FIXED),
        ("y[mask] = 0", Verdict.FIXED),
        ("y /= y.sum(-1, keepdim=True)", Verdict.FIXED),
    ]
    first = told["x /= x.norm(dim=-1, keepdim=True) + 1e-6"].fix
    assert first is not None
    assert first.title == "Let backward keep a copy of `x`"
