"""Idioms of real PyTorch code, with random details: fills, recurrences, residuals, statistics, masks, swaps, caches."""

from __future__ import annotations

from collections.abc import Callable

from .scope import Scope, Var

Scene = Callable[[Scope], list[str]]


def zeros_and_branch(scope: Scope) -> list[str]:
    """A buffer that a branch on data connects, or doesn't."""
    choice = scope.random.choice
    scope.put("x = torch.randn(3, requires_grad=True)")
    scope.put(f"y = {choice(['torch.zeros(3)', 'torch.zeros_like(x)', 'torch.ones(3)', 'x.new_zeros(3)'])}")
    scope.bind(Var("x", (3,), leaf=True))
    test = choice(["x[0] > 0", "x[0].item() > 0.1", "x.sum() > 0", "x[0] > 0 and x[1] < 1", "x.mean() < 0.2"])
    value = choice(["x[0] ** 2", "x[1] * 2", "x[0].exp()", "x.sum()"])
    with scope.block(f"if {test}:", keep=True):
        scope.put(f"y[{choice(['0', '1', '-1', ':2'])}] {choice(['=', '=', '+='])} {value}")
        if scope.chance(0.3):
            scope.put("y[2] = x[2] * 3")
    if scope.chance(0.4):
        with scope.block("else:", keep=True):
            scope.put(choice(["y[0] = 0.0", "y[0] = x[0] * 0.5", "y[1] = -x[1]"]))
    scope.bind(Var("y", (3,)))
    scope.names += [Var("y", (3,))] * 2
    return ["x"]


def branch_per_element(scope: Scope) -> list[str]:
    choice = scope.random.choice
    scope.put("x = torch.randn(4, requires_grad=True)")
    scope.put(choice(["out = torch.zeros(4)", "out = torch.zeros_like(x)", "out = x.clone()"]))
    with scope.block("for i in range(4):", keep=True):
        with scope.block(f"if x[i] {choice(['> 0', '< 0.3'])}:", keep=True):
            scope.put(f"out[i] {choice(['=', '+=', '*='])} {choice(['x[i]', 'x[i] ** 2', 'x[i].exp()', '2.0'])}")
        if scope.chance(0.4):
            with scope.block("else:", keep=True):
                scope.put(f"out[i] = {choice(['0.0', '-x[i]', '0.1 * x[i]'])}")
    scope.bind(Var("x", (4,), leaf=True))
    scope.bind(Var("out", (4,)))
    return ["x"]


def loop_fill(scope: Scope) -> list[str]:
    choice = scope.random.choice
    scope.put("x = torch.randn(4, requires_grad=True)")
    scope.put(choice(["out = torch.zeros(4)", "out = torch.empty(4)", "out = torch.zeros_like(x)"]))
    with scope.block("for i in range(4):", keep=True):
        if scope.chance(0.4):
            scope.put("s = x[i].sin()")
            scope.put(f"out[i] = {choice(['s * 2', 's', 's + x[0]'])}")
        else:
            scope.put(f"out[i] = {choice(['x[i] ** 2', 'x[i] * x[i - 1]', '(x * i).sum()', 'torch.tanh(x[i])'])}")
    scope.bind(Var("x", (4,), leaf=True))
    scope.bind(Var("out", (4,)))
    return ["x"]


def recurrence(scope: Scope) -> list[str]:
    """Slots that are made of earlier slots."""
    choice = scope.random.choice
    two = scope.chance(0.4)
    size = "4, 2" if two else "4"
    scope.put(f"w = torch.rand({'2' if two else '()'}, requires_grad=True)")
    scope.put(f"buf = torch.zeros({size})")
    scope.put(f"buf[0] = {choice(['w', '1.0', 'w * 2'])}")
    step = choice(
        ["buf[t - 1] * w", "buf[t - 1] + w", "torch.tanh(buf[t - 1] * w)", "0.9 * buf[t - 1] + w", "buf[t - 1] ** 2"]
    )
    with scope.block("for t in range(1, 4):", keep=True):
        scope.put(f"buf[t] {choice(['=', '=', '=', '+='])} {step}")
    scope.bind(Var("w", (2,) if two else (), leaf=True))
    scope.bind(Var("buf", (4, 2) if two else (4,)))
    return ["w"]


def columns(scope: Scope) -> list[str]:
    """Box decoding: columns of a result written one by one, some of which read others."""
    choice = scope.random.choice
    scope.put("d = torch.randn(3, 4, requires_grad=True)")
    scope.put(
        choice(["boxes = torch.zeros(3, 4)", "boxes = torch.zeros_like(d)", "boxes = d.clone()", "boxes = d * 1.5"])
    )
    scope.put(f"boxes[:, 0] = {choice(['d[:, 0] * 2', 'd[:, 0] - d[:, 2] / 2', 'd[:, 0].exp()'])}")
    scope.put(choice(["boxes[:, 1] = d[:, 1].exp()", "boxes[:, 1] = boxes[:, 0] * d[:, 1]", "boxes[:, 1] -= d[:, 3]"]))
    scope.put(
        choice(["boxes[:, 2:] += boxes[:, :2]", "boxes[:, 2:] = d[:, 2:].sigmoid()", "boxes[:, 2] = boxes[:, 0] ** 2"])
    )
    scope.bind(Var("d", (3, 4), leaf=True))
    scope.bind(Var("boxes", (3, 4)))
    return ["d"]


def residual(scope: Scope) -> list[str]:
    """A stream that is added to, and blocks that may have kept it."""
    choice = scope.random.choice
    scope.put("x = torch.randn(2, 3, requires_grad=True)")
    scope.put("w = torch.randn(3, 3, requires_grad=True)")
    scope.put(
        choice(["h = x @ w", "h = x * 2", "h = torch.relu(x @ w)", "h = F.linear(x, w)", "h = F.layer_norm(x, (3,))"])
    )
    blocks = [
        "torch.tanh(h @ w)",
        "F.relu(h)",
        "h @ w",
        "F.layer_norm(h, (3,))",
        "h.mean(0)",
        "h.sigmoid()",
        "F.dropout(h, 0.2)",
        "x",
    ]
    for _ in range(choice([1, 2])):
        made = choice(blocks)
        if scope.chance(0.5):
            scope.put(f"f = {made}")
            made = "f"
        scope.put(
            choice(
                [f"h += {made}", f"h += {made}", f"h = h + {made}", f"h.add_({made})", f"h -= {made}", f"h *= {made}"]
            )
        )
    scope.bind(Var("x", (2, 3), leaf=True))
    scope.bind(Var("w", (3, 3), leaf=True))
    scope.bind(Var("h", (2, 3)))
    scope.names += [Var("h", (2, 3))] * 2
    return ["x", "w"]


def statistics(scope: Scope) -> list[str]:
    """Normalising in place by what was computed from the value itself."""
    choice = scope.random.choice
    scope.put("x = torch.randn(3, 3, requires_grad=True)")
    scope.put(f"y = {choice(['x * 2', 'x.exp()', 'x + 1', 'x.clone()', 'F.softmax(x, -1)', 'x @ x'])}")
    measure = choice(
        ["y.max()", "y.norm()", "y.mean()", "y.std()", "y.sum(-1, keepdim=True)", "y.abs().max()", "y.detach().max()"]
    )
    if scope.chance(0.5):
        scope.put(f"scale = {measure}")
        measure = "scale"
    scope.put(
        choice([f"y /= {measure}", f"y -= {measure}", f"y.div_({measure})", f"y.sub_({measure})", f"y = y / {measure}"])
    )
    scope.bind(Var("x", (3, 3), leaf=True))
    scope.bind(Var("y", (3, 3)))
    scope.names += [Var("y", (3, 3))]
    return ["x"]


def attention_mask(scope: Scope) -> list[str]:
    choice = scope.random.choice
    scope.put("q = torch.randn(3, 2, requires_grad=True)")
    scope.put("k = torch.randn(3, 2, requires_grad=True)")
    scope.put("mask = torch.ones(3, 3, dtype=torch.bool).triu(1)")
    scope.put(
        f"scores = {choice(['q @ k.t()', 'torch.matmul(q, k.T)', '(q @ k.t()).softmax(-1)', 'torch.exp(q @ k.t())'])}"
    )
    if scope.chance(0.4):
        scope.put(choice(["scores /= 2 ** 0.5", "scores *= 0.7", "scores.div_(1.4)"]))
    scope.put(
        choice(["scores[mask] = -1e9", "scores.masked_fill_(mask, -1e9)", "scores[mask] = 0.0", "scores[~mask] *= 2"])
    )
    scope.put(
        f"p = {choice(['scores.softmax(-1)', 'F.softmax(scores, dim=-1)', 'scores * 2', 'torch.sigmoid(scores)'])}"
    )
    if scope.chance(0.3):
        scope.put(choice(["p[mask] = 0.0", "p *= 0.5", "p /= p.sum(-1, keepdim=True)"]))
    scope.bind(Var("q", (3, 2), leaf=True))
    scope.bind(Var("k", (3, 2), leaf=True))
    scope.bind(Var("scores", (3, 3)))
    scope.bind(Var("p", (3, 3)))
    return ["q", "k"]


def guarded(scope: Scope) -> list[str]:
    """A partial function under a mask."""
    choice = scope.random.choice
    scope.put("x = torch.randn(4, requires_grad=True)")
    scope.put(f"y = {choice(['torch.zeros_like(x)', 'x.clone()', 'x * 2', 'torch.zeros(4)'])}")
    scope.put("mask = x > 0.1")
    inner = choice(["x[mask].sqrt()", "x[mask].log()", "1 / x[mask]", "x[mask] ** 0.5", "x[mask].exp()", "x[mask]"])
    scope.put(f"y[mask] = {inner}")
    if scope.chance(0.5):
        scope.put(choice(["y[~mask] = 0.0", "y[~mask] = x[~mask] * 0.1", "y[~mask] = x[~mask].abs()", "y[~mask] *= 2"]))
    scope.bind(Var("x", (4,), leaf=True))
    scope.bind(Var("y", (4,)))
    scope.names += [Var("y", (4,))] * 2
    return ["x"]


def updates(scope: Scope) -> list[str]:
    """Manual descent and moving averages: writes that are meant."""
    choice = scope.random.choice
    scope.put("w = torch.randn(3, requires_grad=True)")
    scope.put("ema = torch.zeros(3)")
    with scope.block("for step in range(2):", keep=True):
        scope.put(f"first = {choice(['(w ** 2).sum()', '(w - 1).abs().sum()', 'w.exp().sum()'])}")
        scope.put("first.backward()")
        with scope.block("with torch.no_grad():", keep=True):
            scope.put(choice(["w -= 0.1 * w.grad", "w.sub_(0.1 * w.grad)", "w.add_(w.grad, alpha=-0.1)"]))
            scope.put(choice(["w.grad.zero_()", "w.grad = None"]))
            scope.put(choice(["ema.mul_(0.9).add_(w, alpha=0.1)", "ema += 0.1 * (w - ema)", "ema.lerp_(w, 0.1)"]))
    scope.bind(Var("w", (3,), leaf=True))
    scope.bind(Var("ema", (3,)))
    scope.put("y = w * 2")
    scope.bind(Var("y", (3,)))
    return ["w"]


def swapped(scope: Scope) -> list[str]:
    choice = scope.random.choice
    scope.put("x = torch.randn(3, requires_grad=True)")
    scope.put(f"y = {choice(['x * 2', 'x.exp()', 'x.clone()', 'x.sin()'])}")
    if scope.chance(0.5):
        scope.put(f"z = {choice(['y.exp()', 'y ** 2', 'y + 1'])}")
        scope.bind(Var("z", (3,)))
    if scope.chance(0.5):
        scope.put("y[0], y[1] = y[1], y[0]")
    else:
        scope.put(f"tmp = y[0]{choice(['', '.clone()'])}")
        scope.put("y[0] = y[1]")
        scope.put("y[1] = tmp")
    scope.bind(Var("x", (3,), leaf=True))
    scope.bind(Var("y", (3,)))
    return ["x"]


def cache(scope: Scope) -> list[str]:
    """A preallocated cache that is filled step by step and read so far."""
    choice = scope.random.choice
    scope.put("w = torch.randn(2, 2, requires_grad=True)")
    scope.put("cache = torch.zeros(3, 2)")
    scope.put("total = 0.0")
    with scope.block("for t in range(3):", keep=True):
        scope.put(f"key = {choice(['torch.randn(2) @ w', '(torch.randn(2) @ w).tanh()', 'w[0] * t'])}")
        scope.put(f"cache[t] = {choice(['key', 'key.detach()', 'key * 2'])}")
        scope.put(
            "total = total + "
            + choice(["cache[: t + 1].sum()", "(cache[: t + 1] * key).sum()", "cache.mean()", "key.sum()"])
        )
    scope.bind(Var("w", (2, 2), leaf=True))
    scope.bind(Var("cache", (3, 2)))
    scope.bind(Var("total", ()))
    return ["w"]


def collected(scope: Scope) -> list[str]:
    """A list that holds what is written later."""
    choice = scope.random.choice
    scope.put("x = torch.randn(3, requires_grad=True)")
    scope.put(f"r = {choice(['x * 2', 'x.exp()', 'x.clone()'])}")
    scope.put("outs = []")
    with scope.block("for _ in range(3):", keep=True):
        scope.put(f"outs.append({choice(['r', 'r.clone()', 'r * 2', 'r.sin()', 'r[0]'])})")
        scope.put(choice(["r += x", "r = r + x", "r *= 0.5", "r.mul_(x)", "r[0] = x[1]", "r += r.tanh()"]))
    scope.put("s = torch.stack(outs).sum()")
    scope.bind(Var("x", (3,), leaf=True))
    scope.bind(Var("r", (3,)))
    scope.bind(Var("s", ()))
    return ["x"]


SCENES: tuple[Scene, ...] = (
    zeros_and_branch,
    branch_per_element,
    loop_fill,
    recurrence,
    columns,
    residual,
    statistics,
    attention_mask,
    guarded,
    updates,
    swapped,
    cache,
    collected,
)
