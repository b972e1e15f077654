"""The tracer on programs whose conflicts are known."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from gradfix.tracer.conflicts import Conflict  # noqa: E402
from gradfix.tracer.trace import Tracer  # noqa: E402

HEAD = "import torch\nx = torch.randn(3, requires_grad=True)\n"


def traced(folder: Path, text: str, *, go_on: bool = True, contents: bool = False) -> tuple[list[Conflict], str | None]:
    """The conflicts of a program, and what it raised."""
    path = folder / "program.py"
    path.write_text(HEAD + text)
    linecache.checkcache(str(path))
    raised = None
    with Tracer(go_on=go_on, contents=contents) as trace:
        try:
            exec(compile(path.read_text(), str(path), "exec"), {"__name__": "program"})
        except RuntimeError as error:
            raised = str(error)
    return trace.conflicts(), raised


def traced_from(folder: Path, helper: str, text: str) -> list[Conflict]:
    """The conflicts of a program that imports `helper` from another file, seen from the program."""
    (folder / "helper.py").write_text(helper)
    path = folder / "program.py"
    path.write_text(HEAD + text)
    linecache.checkcache()
    names: dict[str, object] = {}
    exec(compile(helper, str(folder / "helper.py"), "exec"), names)
    with Tracer(go_on=True, within=str(path)) as trace:
        exec(compile(path.read_text(), str(path), "exec"), names)
    return trace.conflicts()


def told(conflicts: list[Conflict]) -> list[tuple[str, int | None, int | None]]:
    """Kind, line of the save and line of the write."""
    lines = [(c.kind, c.save.line if c.save else None, c.write.line if c.write else None) for c in conflicts]
    return sorted(lines, key=str)


def test_all_conflicts_of_a_run_are_found(tmp_path: Path) -> None:
    text = "x[0] = 1\ny = x.exp()\nfor i in range(2):\n    y[i] = 10\nz = y.sigmoid()\nz += 1\nz.sum().backward()\n"
    conflicts, raised = traced(tmp_path, text)
    assert raised is None
    assert told(conflicts) == [
        ("leaf-view-written", None, 3),
        ("saved-then-written", 4, 6),
        ("saved-then-written", 7, 8),
    ]
    write = next(c for c in conflicts if c.saved_by == "exp")
    assert (write.by, write.times, write.shape, write.dtype) == ("__setitem__", 2, (3,), "float32")
    assert write.write is not None
    assert (write.write.text, write.write.column, write.write.end_column) == ("y[i] = 10", 4, 13)
    if sys.version_info >= (3, 11):
        assert write.save is not None
        assert (write.save.text, write.save.column, write.save.end_column) == ("x.exp()", 4, 11)


def test_of_a_write_elsewhere_the_call_that_led_to_it_is_told(tmp_path: Path) -> None:
    helper = "def clip(h):\n    h[h > 1] = 1\n\n\ndef twice(h):\n    clip(h)\n"
    text = "y = x.exp()\nclip(y)\nz = x.sin().exp()\ntwice(z)\n(y.sum() + z.sum()).backward()\nclip(x)\n"
    found = [(c.write and c.write.line, c.through and c.through.text) for c in traced_from(tmp_path, helper, text)]
    assert found == [(2, "clip(x)"), (2, "twice(z)"), (2, "clip(y)")]


def test_a_write_elsewhere_to_what_the_same_call_saved_is_its_own_affair(tmp_path: Path) -> None:
    helper = "def soft(h):\n    h = h.exp()\n    h /= h.sum()\n    return h\n"
    (one,) = traced_from(tmp_path, helper, "soft(x).sum().backward()\n")
    assert one.write is not None
    assert one.write.line == 3
    assert one.through is None


def test_a_place_tells_its_function_and_its_turn(tmp_path: Path) -> None:
    text = """\
def step(h, t):
    a = h.sin()
    if t == 2:
        h += 1
    return a
total = 0
for t in range(4):
    total = total + step(x * 1, t).sum()
total.backward()
"""
    (conflict,), _ = traced(tmp_path, text)
    assert conflict.save is not None
    assert conflict.write is not None
    assert (conflict.save.function, conflict.save.time) == ("step", 3)
    assert (conflict.write.function, conflict.write.time) == ("step", 1)


def test_a_line_with_several_statements_and_letters_beyond_ascii(tmp_path: Path) -> None:
    (conflict,), _ = traced(tmp_path, "é = 'é'; y = x.exp(); é = 'ü'; y[0] = 10\ny.sum().backward()\n")
    assert conflict.write is not None
    if sys.version_info >= (3, 11):
        assert (conflict.write.text, conflict.write.column) == ("y[0] = 10", 31)


def test_torch_is_right_that_nothing_is_wrong(tmp_path: Path) -> None:
    text = """\
from torch.utils.checkpoint import checkpoint
net = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 1), torch.nn.BatchNorm1d(4), torch.nn.ReLU(inplace=True))
rnn = torch.nn.LSTM(4, 5)
optimizer = torch.optim.Adam([*net.parameters(), *rnn.parameters()])
for step in range(3):
    optimizer.zero_grad()
    h = net(torch.randn(2, 3, 7))
    out, _ = rnn(checkpoint(torch.tanh, h.permute(2, 0, 1), use_reentrant=False))
    out.square().mean().backward()
    optimizer.step()
y = x + 2
y[0] = 10
g, = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
g.sum().backward()
"""
    assert traced(tmp_path, text) == ([], None)


def test_an_optimizer_step_between_two_passes(tmp_path: Path) -> None:
    text = """\
net = torch.nn.Linear(3, 3)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
loss = net(net(x)).sum()
loss.backward(retain_graph=True)
optimizer.step()
loss.backward()
"""
    conflicts, _ = traced(tmp_path, text)
    assert told(conflicts) == [("saved-then-written", 5, 7)] * len(conflicts)
    assert conflicts


def test_checkpoint_hides_nothing(tmp_path: Path) -> None:
    text = """\
from torch.utils.checkpoint import checkpoint
def f(h):
    a = h.exp()
    a.mul_(2)
    return a.sin()
checkpoint(f, x * 1, use_reentrant=False).sum().backward()
"""
    conflicts, _ = traced(tmp_path, text)
    assert told(conflicts) == [("saved-then-written", 5, 6)]


def test_forbidden_writes_are_noted_and_the_run_goes_on(tmp_path: Path) -> None:
    text = "a, b, c = x.sin().unbind(0)\na += 1\nx += 1\nwith torch.no_grad():\n    v = (x * 1)[0:2]\n"
    text += "v[0] = a\ny = x.exp()\ny[0] = 0\n(y.sum() + a + b).backward()\nx.sum().item().__abs__()\n"
    conflicts, raised = traced(tmp_path, text)
    kinds = [kind for kind, _, _ in told(conflicts)]
    assert raised is None
    assert kinds == ["leaf-written", "multi-view-written", "no-grad-view-written", "saved-then-written"]


def test_without_going_on_torch_raises_as_ever(tmp_path: Path) -> None:
    conflicts, raised = traced(tmp_path, "x[0] = 1\n", go_on=False)
    assert raised is not None
    assert raised.startswith("a view of a leaf Variable")
    assert told(conflicts) == [("leaf-view-written", None, 3)]


def test_values_are_those_of_the_plain_run(tmp_path: Path) -> None:
    text = "torch.manual_seed(0)\nh = x.detach() * 0 + 2\nx[0] = 5\nh[1] = x[0]\nRESULT.append(h.tolist())\n"
    result: list[list[float]] = []
    with Tracer(go_on=True):
        exec(HEAD + text, {"RESULT": result})
    assert result == [[2.0, 5.0, 2.0]]


def test_a_silent_write_is_found_by_what_it_changes(tmp_path: Path) -> None:
    conflicts, _ = traced(tmp_path, "y = x.exp()\ny.data[0] = 30.0\ny.sum().backward()\n", contents=True)
    assert told(conflicts) == [("silent-write", 3, 4)]


def test_a_silent_write_elsewhere_in_the_storage_is_none(tmp_path: Path) -> None:
    text = "b = x * 1\nw = b[0:1].sin()\nb.data[1] = 3\nw.sum().backward()\n"
    assert traced(tmp_path, text, contents=True) == ([], None)


def test_a_write_into_a_numpy_array_is_told_by_its_effect(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    text = "y = x.exp()\ny.detach().numpy()[0] = 30.0\ny.sum().backward()\n"
    conflicts, _ = traced(tmp_path, text, contents=True)
    assert told(conflicts) == [("silent-write", 3, None)]


def test_the_cut_that_feeds_the_loss_is_told_and_no_other(tmp_path: Path) -> None:
    text = """\
print(x.detach().sum())
index = x.argmax()
m = x.sum().item()
y = torch.zeros(3)
y[1] = (m * 2.0 + 1) / 3
loss = y.sum() + 1
loss.backward()
"""
    conflicts, raised = traced(tmp_path, text)
    assert raised is None  # the pass is left out
    assert told(conflicts) == [("disconnected", None, 5)]
    assert conflicts[0].by == "item"


def test_everything_is_put_back() -> None:
    backward, grad = torch.autograd.backward, torch.autograd.grad
    with pytest.raises(ZeroDivisionError), Tracer():
        raise ZeroDivisionError
    assert (torch.autograd.backward, torch.autograd.grad) == (backward, grad)
    x = torch.randn(3, requires_grad=True)
    y = x.exp()
    y[0] = 10
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_nothing_is_kept_alive() -> None:
    import gc
    import weakref

    def step() -> weakref.ref[object]:
        h = torch.randn(100, requires_grad=True)
        y = h.exp()
        y[0] = 1
        y.sin().sum().backward()
        return weakref.ref(y)

    with Tracer() as trace:
        refs = [step() for _ in range(20)]
        gc.collect()
        assert trace.conflicts()
        assert sum(ref() is not None for ref in refs) <= 1
