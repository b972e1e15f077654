import torch
from torch import nn
import torch.nn.functional as F


class QuantileHead(nn.Module):
    def __init__(self, in_features, quantiles=(0.1, 0.5, 0.9), activation="softplus"):
        super().__init__()
        self.quantiles = quantiles
        self.proj = nn.Linear(in_features, len(quantiles))
        if activation == "softplus":
            self.act = F.softplus
        elif activation == "exp":
            self.act = torch.exp
        else:
            raise ValueError(f"unknown activation {activation}")

    def forward(self, x):
        deltas = torch.exp(self.proj(x))
        deltas[..., 0] = 0.0
        return deltas.cumsum(-1)

    def loss(self, x, y):
        pred = self(x)
        q = torch.tensor(self.quantiles)
        err = y.unsqueeze(-1) - pred
        return torch.max(q * err, (q - 1) * err).mean()
