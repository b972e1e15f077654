"""Who would miss a write if its target got a new tensor: each program is one way in which that happens, or doesn't."""

from __future__ import annotations

import ast
import textwrap

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import ObstacleKind, Write
from gradfix.source import Source

HEAD = "import torch\nfrom torch import nn\n"


def write_at(program: str, marked: str) -> Write:
    """The facts of the write whose line begins with `marked`."""
    source = Source.from_text("program.py", HEAD + textwrap.dedent(program))
    found = [w for w in analyse(source).writes if source.line_text(w.statement.lineno).strip().startswith(marked)]
    assert len(found) == 1, found
    return found[0]


def certain(write: Write) -> set[ObstacleKind]:
    return {obstacle.kind for obstacle in write.obstacles if obstacle.certain}


def test_a_caller_reads_the_argument_under_the_same_name() -> None:
    write = write_at(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])

            def forward(self, x):
                for block in self.blocks:
                    x += block(x)
                return x

        x = torch.randn(3, 2)
        out = Net()(x)
        (out * x).sum().backward()
        """,
        "x += block",
    )
    assert certain(write) == {ObstacleKind.ARGUMENT_READ}
    assert [obstacle.name for obstacle in write.obstacles if obstacle.certain] == ["the caller's x"]


def test_written_with_gradients_off() -> None:
    write = write_at(
        """
        w = torch.randn(4, requires_grad=True)
        a = w / w.max()
        with torch.no_grad():
            w[3] = 0
        (w.sum() + a.max()).backward()
        """,
        "w[3]",
    )
    assert ObstacleKind.GRADIENTS_OFF in certain(write)


def test_a_mask_written_with_gradients_off_may_be_made_anew() -> None:
    write = write_at(
        """
        x = torch.randn(3, requires_grad=True)
        mask = torch.ones(3)
        y = x * mask
        with torch.no_grad():
            mask[0] = 0
        y.sum().backward()
        """,
        "mask[0]",
    )
    assert certain(write) == set()


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("z = y\ny += 1\nloss = (y * z).sum()", "z"),
        ("row = y[0]\ny += 1\nloss = (y + row).sum()", "row"),
        ("kept = []\nkept.append(y)\ny += 1\nloss = torch.stack(kept).sum() + y.sum()", "kept"),
        ("d = {'y': y}\ny += 1\nloss = (d['y'] * y).sum()", "d['y']"),
        ("row = y[0]\nrow += 1\nloss = y.sum()", "y"),
        ("z = y.float()\ny += 1\nloss = (y * z).sum()", "z"),  # float() of a float tensor is that tensor
        ("z = y.cuda()\ny += 1\nloss = (y * z).sum()", "z"),
        ("z = y.contiguous()\ny += 1\nloss = (y * z).sum()", "z"),
    ],
)
def test_another_holder_reads_later(program: str, name: str) -> None:
    write = write_at(
        f"x = torch.randn(3, 3, requires_grad=True)\ny = x.exp()\n{program}\nloss.backward()\n", program.split("\n")[-2]
    )
    assert certain(write) & {ObstacleKind.ALIAS_READ, ObstacleKind.BASE_READ}
    assert name in {obstacle.name for obstacle in write.obstacles}


@pytest.mark.parametrize(
    "program",
    [
        "y += 1\nz = y\nloss = (y * z).sum()",  # the alias is made afterwards
        "z = y\nn = z.shape[0]\ny += 1\nloss = y.sum() / z.size(0)",  # its shape is all that is asked for
        "z = y.clone()\ny += 1\nloss = (y * z).sum()",
        "z = y.double()\ny += 1\nloss = (y * z).sum()",
        "p, q = y.chunk(2)\nq = q.exp()\nq += p\nloss = (p + q).sum()",
    ],
)
def test_nobody_misses_the_write(program: str) -> None:
    marked = "q += p" if "chunk" in program else "y += 1"
    write = write_at(f"x = torch.randn(4, 3, requires_grad=True)\ny = x.exp()\n{program}\nloss.backward()\n", marked)
    assert certain(write) == set()


def test_parts_of_a_split_are_apart() -> None:
    write = write_at(
        """
        class Film(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 8)

            def forward(self, x, cond):
                shift, scale = self.fc(cond).chunk(2, dim=-1)
                scale += 1
                return x * scale + shift
        """,
        "scale += 1",
    )
    assert certain(write) == set()


def test_an_item_of_a_list_is_no_view_of_the_list() -> None:
    program = """
        q = torch.randn(4, requires_grad=True)
        outs = [torch.exp(q)]
        outs[0][1] = 2
        outs[0].sum().backward()
        """
    assert write_at(program, "outs[0][1]").holder is None


def test_a_row_is_a_view_of_its_tensor() -> None:
    program = """
        x = torch.randn(4, 4, requires_grad=True)
        y = x.exp()
        y[0][1] = 2
        y.sum().backward()
        """
    holder = write_at(program, "y[0][1]").holder
    assert holder is not None
    assert ast.unparse(holder) == "y"


@pytest.mark.parametrize(
    "holder",
    [
        "later = lambda t=y: t.sum()",
        "later = lambda *, t=y: t.sum()",
        "later = y.sum",
        "later = functools.partial(torch.sum, y)",
        "later = functools.partial(torch.sum, input=y)",
    ],
)
def test_a_call_that_was_given_the_tensor_before(holder: str) -> None:
    write = write_at(
        f"""
        import functools
        x = torch.randn(3, requires_grad=True)
        y = x.exp()
        {holder}
        y.mul_(2)
        (y * later()).sum().backward()
        """,
        "y.mul_",
    )
    assert certain(write) == {ObstacleKind.ALIAS_READ}


def test_what_is_only_called_a_mask_may_be_a_slice() -> None:
    program = "def f(x, {index}):\n    y = torch.exp(x)\n    r = y[{index}]\n    r.mul_(2)\n    return y + r.sum()\n"
    named = write_at(program.format(index="mask"), "r.mul_")
    assert not named.hazards
    assert {o.kind for o in named.obstacles if not o.certain} == {ObstacleKind.ESCAPED}
    proven = write_at(program.format(index="k").replace("[k]", "[x > 0]"), "r.mul_")
    assert not proven.hazards
    assert not proven.obstacles


@pytest.mark.parametrize(
    ("update", "kinds"),
    [
        ("y -= y[0]", {ObstacleKind.OVERLAP}),
        ("y.sub_(y[0])", {ObstacleKind.OVERLAP}),
        ("y -= y[0].clone()", set()),
        ("y[2] += y[:, 0]", {ObstacleKind.OVERLAP}),
        ("y[2] = y[:, 0]", {ObstacleKind.OVERLAP}),
        ("y[2, :] += y[1, :]", set()),
        ("y[2] += y[i]", set()),
        ("y -= y", set()),
        ("y[0] -= y[1]", set()),
    ],
)
def test_an_update_by_a_part_of_itself(update: str, kinds: set[ObstacleKind]) -> None:
    write = write_at(
        f"""
        import torch
        x = torch.randn(3, 3, requires_grad=True)
        y = x.exp()
        {update}
        y.sum().backward()
        """,
        update,
    )
    assert {o.kind for o in write.obstacles} == kinds
