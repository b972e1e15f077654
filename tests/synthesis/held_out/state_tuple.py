import torch
from torch import nn


class Cell(nn.Module):
    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.w = nn.Linear(n_in + n_hidden, 4 * n_hidden)

    def forward(self, x, state):
        h, c = state
        i, f, g, o = self.w(torch.cat([x, h], -1)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        c.clamp_(-1.0, 1.0)
        out = torch.sigmoid(o) * torch.tanh(c)
        c += 0.1 * out
        return out, (out, c)
