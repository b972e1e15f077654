"""The programs of `examples/`: each fails (or not) as its first lines say, and the expert's repair of each is right.

The truth for a gradient is the directional central difference, in float64, of the *unrepaired* forward under `no_grad`.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

from starting import started  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
REPAIRED = Path(__file__).parent / "fixtures" / "programs"

IN_PLACE = "one of the variables needed for gradient computation has been modified by an inplace operation"
NON_SCALAR = "grad can be implicitly created only for scalar outputs"
NO_GRAPH = "element 0 of tensors does not require grad and does not have a grad_fn"

Loss = Callable[[], "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class Setup:
    """A loss as a function of nothing, and the leaves it depends on."""

    loss: Loss
    leaves: list[torch.Tensor]


def _residual_block(module: ModuleType) -> Setup:
    model = module.StripeNet()
    images, labels = module.make_batch()
    return Setup(lambda: torch.nn.functional.cross_entropy(model(images), labels), list(model.parameters()))


def _wave_equation(module: ModuleType) -> Setup:
    speed = (1 + 0.1 * torch.rand(module.NX)).requires_grad_()
    record = torch.randn(module.NT)
    return Setup(lambda: module.misfit(speed, record), [speed])


def _box_decoding(module: ModuleType) -> Setup:
    model = module.Detect(channels=8, anchors=[(10, 13), (33, 23)])
    features, boxes = torch.randn(2, 8, 4, 4, requires_grad=True), torch.rand(2, 32, 4) * 32
    objectness = (torch.rand(2, 32) > 0.7).to(torch.float64)
    return Setup(lambda: module.detection_loss(model(features), boxes, objectness), [features, *model.parameters()])


def _attention_mask(module: ModuleType) -> Setup:
    attention = module.MaskedSelfAttention(dim=8, heads=2)
    tokens, target = torch.randn(4, 6, 8, requires_grad=True), torch.randn(4, 6, 8)
    padding = torch.arange(6)[None, :] >= torch.tensor([6, 4, 3, 5])[:, None]
    return Setup(
        lambda: module.masked_mse(attention(tokens, padding), target, padding), [tokens, *attention.parameters()]
    )


def _rl_returns(module: ModuleType) -> Setup:
    model = module.ReturnModel(obs_dim=4)
    rewards = torch.rand(24, requires_grad=True)
    dones, last_obs, weight = torch.arange(24) % 7 == 3, torch.randn(4, requires_grad=True), torch.randn(24)
    return Setup(lambda: (model(rewards, dones, last_obs) * weight).sum(), [rewards, last_obs, *model.parameters()])


PROGRAMS: dict[str, Callable[[ModuleType], Setup]] = {
    "residual_block": _residual_block,
    "wave_equation": _wave_equation,
    "box_decoding": _box_decoding,
    "attention_mask": _attention_mask,
    "rl_returns": _rl_returns,
}
SEEDS = {"seed_1_non_scalar", "seed_2_harmless_write", "seed_2b_saved_write", "seed_3_zeros_conditional"}


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _double_precision() -> Iterator[None]:
    """Makes `torch.zeros(n)` in the programs float64, so that central differences aren't rounded away."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _build(name: str, path: Path) -> Setup:
    torch.manual_seed(3)
    return PROGRAMS[name](_load(path))


def _slope(setup: Setup, direction: list[torch.Tensor], step: float = 1e-6) -> float:
    """d loss / d direction by central differences; the leaves are left as they were."""
    start = [leaf.detach().clone() for leaf in setup.leaves]
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            for leaf, at, along in zip(setup.leaves, start, direction, strict=True):
                leaf.copy_(at + sign * step * along)
            values.append(setup.loss().item())
        for leaf, at in zip(setup.leaves, start, strict=True):
            leaf.copy_(at)
    return (values[0] - values[1]) / (2 * step)


def _says_it_fails_with(path: Path) -> str:
    line = next(line for line in path.read_text().splitlines() if "fails" in line)
    return line.split("with: ", 1)[1]


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PROGRAMS) | SEEDS
    assert {path.name.removesuffix(".fixed.py") for path in REPAIRED.glob("*.py")} == set(PROGRAMS)
    listed = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in listed] == []


@pytest.mark.parametrize("name", [*PROGRAMS, "seed_1_non_scalar", "seed_2b_saved_write"])
def test_fails_as_its_header_says(name: str) -> None:
    path = EXAMPLES / f"{name}.py"
    done = started(path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    stem = NON_SCALAR if name == "seed_1_non_scalar" else IN_PLACE
    assert _says_it_fails_with(path) == stem
    assert last.startswith(f"RuntimeError: {stem}")


def test_harmless_write_runs() -> None:
    command = [sys.executable, str(EXAMPLES / "seed_2_harmless_write.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "tensor([0., 1., 1.])\n"


def test_conditional_depends_on_the_data() -> None:
    path = EXAMPLES / "seed_3_zeros_conditional.py"
    firsts = {seed: torch.randn(3, generator=torch.Generator().manual_seed(seed))[0].item() for seed in range(8)}
    taken = next(seed for seed, first in firsts.items() if first > 0)
    skipped = next(seed for seed, first in firsts.items() if first <= 0)
    assert started(path, seed=taken).stdout == "tensor([1., 0., 0.])\n"
    assert _says_it_fails_with(path) == NO_GRAPH
    assert started(path, seed=skipped).stderr.strip().endswith(f"RuntimeError: {NO_GRAPH}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_repaired_program_runs(name: str) -> None:
    done = started(REPAIRED / f"{name}.fixed.py")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 5


@pytest.mark.usefixtures("_double_precision")
@pytest.mark.parametrize("name", PROGRAMS)
def test_original_raises_where_repair_is_right(name: str) -> None:
    original = _build(name, EXAMPLES / f"{name}.py")
    repaired = _build(name, REPAIRED / f"{name}.fixed.py")
    assert all(torch.equal(a, b) for a, b in zip(original.leaves, repaired.leaves, strict=True))

    with pytest.raises(RuntimeError, match=IN_PLACE):
        original.loss().backward()

    loss = repaired.loss()
    torch.testing.assert_close(loss, original.loss(), rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(loss, repaired.leaves)
    for _ in range(5):
        direction = [torch.randn_like(leaf) for leaf in original.leaves]
        predicted = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True))
        assert predicted == pytest.approx(_slope(original, direction), rel=1e-5, abs=1e-8)
