import torch
from torch import nn


class TreeLSTM(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.w = nn.Linear(size, 3 * size)
        self.u = nn.Linear(size, 3 * size)

    def forward(self, x, children):
        h_sum = sum(h for h, _ in children)
        gates = torch.sigmoid(self.w(x) + self.u(h_sum))
        i, o, f = gates.split(x.shape[-1], -1)
        c = i * torch.tanh(x)
        for _, child_c in children:
            c = c + f * child_c
        out = torch.tanh(c)
        out *= o
        return out, c
