from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Batch:
    nodes: Tensor
    mask: Tensor
    weight: float = 1.0


class Scorer(nn.Module):
    def __init__(self, hidden: int):
        super().__init__()
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, batch: Batch) -> Tensor:
        h = torch.tanh(self.proj(batch.nodes))
        h[batch.mask] = 0.0
        return h.sum(-1) * batch.weight
