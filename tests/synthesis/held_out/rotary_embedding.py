import torch
from torch import nn


class RotaryEmbedding(nn.Module):
    def __init__(self, dim: int, base: int = 10000, max_position: int = 2048):
        super().__init__()
        inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2).float() / dim))
        self.register_buffer("inv_freq", inv_freq)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, q: torch.Tensor, position_ids: torch.LongTensor) -> torch.Tensor:
        # q: [batch, seq, dim], position_ids: [seq]
        freqs = torch.outer(position_ids.float(), self.inv_freq)
        emb = torch.cat((freqs, freqs), dim=-1)
        out = torch.tanh(q * self.scale)
        out *= emb.cos()
        return out
