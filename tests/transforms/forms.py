"""Every form a rewrite takes, with a function that comes to take it, and the transforms it is meant for."""

from __future__ import annotations

from dataclasses import dataclass

BATCH = "a write in place: the buffer is one for the whole batch, and can't take a value for each `x`"
FLOW = "the branch stays in Python, and under the transform no number is known to decide by"
LEAF = "a compiled function can't make a leaf of its own"


@dataclass(frozen=True, slots=True)
class Form:
    """One form: a body that reads `x` (of shape `size`) and returns a tensor, and a line of what it becomes."""

    name: str
    codes: str
    body: str
    line: str
    size: tuple[int, ...] = (4,)
    vmap: str = ""  # why it isn't meant to work; empty where it is
    grad: str = ""
    compile: str = ""
    before: str = ""  # definitions before the function

    def why_not(self, transform: str) -> str:
        """Why the form isn't meant for a transform; empty where it is."""
        reasons = {"vmap": self.vmap, "grad": self.grad, "compile": self.compile}
        return reasons[transform]

    def program(self) -> str:
        """The function with a program that differentiates it."""
        body = "".join(f"    {line}\n" for line in self.body.splitlines())
        size = ", ".join(map(str, self.size))
        head = "import numpy as np\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n"
        main = f"x = torch.rand({size}, requires_grad=True)\nf(x).sum().backward()\n"
        return f"{head}{self.before}def f(x):\n{body}\n\n{main}"


FORMS = (
    Form("arithmetic", "GF102", "h = x.sigmoid()\nh += 1\nreturn h", "h = h + 1"),
    Form(
        "arithmetic with a cast",
        "GF102",
        "h = x.sigmoid()\nh += torch.ones(4, dtype=torch.float64) * x.sum()\nreturn h",
        "h = (h + torch.ones(4, dtype=torch.float64) * x.sum()).to(h.dtype)",
    ),
    Form("the method without underscore", "GF103", "h = x.exp()\nh.mul_(2).add_(1)\nreturn h", "h = h.mul(2).add(1)"),
    Form("the function without underscore", "GF103", "h = x.tanh()\nF.relu_(h)\nreturn h", "h = F.relu(h)"),
    Form(
        "without `inplace=True`",
        "GF104",
        "h = x.sigmoid()\nh = F.leaky_relu(h, inplace=True)\nreturn h * 2",
        "h = F.leaky_relu(h)",
    ),
    Form(
        "`index_put`",
        "GF101",
        "y = x.exp()\ny[0] = 10\nreturn y",
        "y = y.index_put((torch.tensor(0),), y.new_tensor(10))",
    ),
    Form("`torch.fill` of all", "GF101 GF103", "y = x.exp()\ny.zero_()\nreturn y + x", "y = torch.fill(y, 0)"),
    Form(
        "`torch.where` for a mask",
        "GF101",
        "y = x.exp()\ny[y > 1.5] = 0.5\nreturn y",
        "y = torch.where(y > 1.5, 0.5, y)",
    ),
    Form(
        "`torch.select_scatter`",
        "GF101 GF102",
        "y = x.exp()\ny[1] *= 3\nreturn y",
        "y = torch.select_scatter(y, y[1] * 3, 0, 1)",
        (2, 3),
    ),
    Form(
        "`torch.slice_scatter`",
        "GF101 GF102",
        "y = x.exp()\ny[:, 1:] = 0.5\nreturn y",
        "y = torch.slice_scatter(y, torch.full_like(y[:, 1:], 0.5), 1, 1)",
        (2, 3),
    ),
    Form("clone, then write", "GF101", "y = x.exp()\ny[[0, 2]] = x[:2]\nreturn y", "y = x.exp().clone()"),
    Form("value, clone, write", "GF101", "y = x.exp()\ny[[0, 2]] = y[:2] * x[:2]\nreturn y", "value = y[:2] * x[:2]"),
    Form(
        "clone, then write, of a buffer made without `x`",
        "GF101",
        "y = torch.ones(4)\na = x * y\ny[[0, 2]] = x[:2]\nreturn a + y",
        "y = y.clone()",
        vmap=BATCH,
    ),
    Form(
        "`index_put` of a number into a buffer made without `x`",
        "GF101",
        "y = torch.ones(4)\na = x * y\ny[0] = 10\nreturn a + y",
        "y = y.index_put((torch.tensor(0),), y.new_tensor(10))",
    ),
    Form(
        "`index_put` of a tensor into a buffer made without `x`",
        "GF101",
        "y = torch.ones(4)\na = x * y\ny[0] = x[1].exp()\nreturn a + y",
        "y = y.index_put((torch.tensor(0),), x[1].exp())",
    ),
    Form(
        "`torch.where` of what is computed unmasked",
        "GF204",
        "y = x.exp()\nm = y > 1.5\ny[m] = y[m].log() * 2\nreturn y",
        "y = torch.where(m, torch.where(m, y, 1).log() * 2, y)",
    ),
    Form(
        "a comprehension, stacked",
        "GF202",
        "out = torch.zeros(4)\ntotal = 0\nfor scale in (1.0, 2.0):\n    for i in range(4):\n"
        "        out[i] = torch.exp(scale * x[i])\n    total = total + (out**2).sum()\nreturn total",
        "out = torch.stack([torch.exp(scale * x[i]) for i in range(4)])",
    ),
    Form(
        "a list of slots, stacked",
        "GF203",
        "out = torch.ones(4)\nfor i in range(1, 4):\n    out[i] = out[i - 1].sin() * x[i]\nreturn out",
        "return torch.stack(out)",
    ),
    Form(
        "`torch.where` for a branch",
        "GF201",
        "y = torch.zeros(4)\nif x[0] > 0.5:\n    y[0] = x[0] * 2\nreturn y",
        "y = torch.select_scatter(y, torch.where(x[0] > 0.5, x[0] * 2, y[0]), 0, 0)",
    ),
    Form(
        "the branch stays, a `torch.where` connects",
        "GF201",
        "y = torch.zeros(4)\nif x[0] > 0.5:\n    print(end='')\n    y[0] = x[0] * 2\nreturn y",
        "y = torch.where(torch.zeros_like(y, dtype=torch.bool), x.sum(), y)",
        vmap=FLOW,
        compile=FLOW,
    ),
    Form(
        "backward keeps a copy",
        "GF101 GF102 GF103 GF501",
        "h = x * 2\nkeep = h\na = h.sin()\nh += 1\nreturn a + keep",
        "a = h.clone().sin()",
    ),
    Form(
        "the result is copied in",
        "GF103",
        "y = x * 2\nkeep = y\ny.exp_()\ny[0] = 1.0\nreturn y + keep",
        "y.copy_(y.exp())",
    ),
    Form(
        "a function returns its argument",
        "GF101 GF102 GF103",
        "h = x.exp()\nscale(h)\nreturn h * 2",
        "h = scale(h)",
        before="def scale(v):\n    v *= 2\n\n\n",
    ),
    Form(
        "a view put back into its base",
        "GF501",
        "y = x.exp()\nrow = y[:2]\nrow += 1\nreturn y",
        "y = torch.slice_scatter(y, row + 1, end=2)",
    ),
    Form(
        "parts joined again",
        "GF502",
        "y = x * 2\na, b = y.chunk(2)\na.mul_(3)\nreturn y",
        "y = torch.cat([a, b])",
    ),
    Form(
        "views that may be written",
        "GF502",
        "y = x * 2\nheld = [y]\na, b = y.chunk(2)\na.mul_(3)\nreturn held[0]",
        "a, b = y.tensor_split(2)",
    ),
    Form(
        "a clone of what was expanded",
        "GF503",
        "z = x.sum().expand(4)\nz += x\nreturn z",
        "z = x.sum().expand(4).clone()",
    ),
    Form(
        "a result instead of `out=`",
        "GF105",
        "y = torch.empty(4)\ntorch.mul(x, x, out=y)\nreturn y",
        "y = torch.mul(x, x)",
    ),
    Form("a write that autograd sees", "GF106", "h = x * 2\na = h.sin()\nh.data.mul_(2)\nreturn a + h", "h = h.mul(2)"),
    Form(
        "a copy of what is swapped",
        "GF107",
        "y = x * 2\ny[0], y[1] = y[1], y[0]\nreturn y",
        "y[0], y[1] = y[1], y[0].clone()",
    ),
    Form(
        "`torch.stack` of tensors",
        "GF301",
        "return torch.tensor([x.sum(), x.prod()])",
        "return torch.stack([x.sum(), x.prod()])",
    ),
    Form(
        "the tensor instead of its number",
        "GF302",
        "return (x.sum().item() + torch.zeros(1)).sum()",
        "return (x.sum() + torch.zeros(1)).sum()",
    ),
    Form("the graph kept", "GF303", "return x.exp().data.sum()", "return x.exp().sum()"),
    Form(
        "torch instead of NumPy",
        "GF303",
        "return torch.from_numpy(np.sqrt(x.detach().numpy())).sum()",
        "return torch.sqrt(x).sum()",
    ),
    Form(
        "a copy of the leaf to work on",
        "GF101 GF102 GF103",
        "w = torch.ones(4, requires_grad=True)\nw[0] = 2.0\nreturn w * x",
        "w_copy = w.clone()",
        compile=LEAF,
    ),
)
