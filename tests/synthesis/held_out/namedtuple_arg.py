from typing import NamedTuple

import torch


class Gaussian(NamedTuple):
    mean: torch.Tensor
    log_std: torch.Tensor


def kl(p: Gaussian, q: Gaussian) -> torch.Tensor:
    std = torch.exp(p.log_std)
    ratio = std / torch.exp(q.log_std)
    std += 1e-6
    return (ratio**2 + ((p.mean - q.mean) / std) ** 2).sum()
