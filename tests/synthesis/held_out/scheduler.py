from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Schedule:
    betas: Tensor
    names: list[str] = field(default_factory=list)

    def alphas(self):
        return torch.cumprod(1 - self.betas, 0)


def q_sample(schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    a = schedule.alphas()[t].sqrt()
    b = (1 - a * a).sqrt()
    x = a.view(-1, 1) * x0 + b.view(-1, 1) * noise
    a *= 0.5
    return x
