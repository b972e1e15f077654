"""Self-attention over padded sequences, trained to find the mean of the real tokens.

fails with: one of the variables needed for gradient computation has been modified by an inplace operation
"""

import math

import torch
from torch import nn


class MaskedSelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(dim // heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, tokens, padding):
        """`padding` is True where a token is only there to fill up the batch."""
        b, n, d = tokens.shape
        q, k, v = self.qkv(tokens).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)

        weights = torch.softmax(q @ k.transpose(-2, -1) * self.scale, dim=-1)
        # nobody may look at padding; what is left must still add up to one
        mask = padding[:, None, None, :].expand_as(weights)
        weights[mask] = 0.0
        weights = weights / weights.sum(dim=-1, keepdim=True)

        mixed = (weights @ v).transpose(1, 2).reshape(b, n, d)
        return self.out(mixed)


def masked_mse(output, target, padding):
    error = (output - target).square().mean(-1)
    return error[~padding].mean()


def main():
    torch.manual_seed(0)
    tokens = torch.randn(4, 6, 8)
    lengths = torch.tensor([6, 4, 3, 5])
    padding = torch.arange(6)[None, :] >= lengths[:, None]
    kept = tokens * ~padding[..., None]
    target = kept.sum(1, keepdim=True) / lengths[:, None, None]

    attention = MaskedSelfAttention(dim=8, heads=2)
    optimizer = torch.optim.Adam(attention.parameters(), lr=1e-2)
    for epoch in range(5):
        optimizer.zero_grad()
        loss = masked_mse(attention(tokens, padding), target.expand_as(tokens), padding)
        loss.backward()
        optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
