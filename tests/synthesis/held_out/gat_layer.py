import torch
import torch.nn.functional as F
from torch import nn


class GATLayer(nn.Module):
    def __init__(self, in_features, out_features, negative_slope=0.2):
        super().__init__()
        self.W = nn.Linear(in_features, out_features, bias=False)
        self.a = nn.Parameter(torch.randn(2 * out_features) * 0.1)
        self.negative_slope = negative_slope

    def forward(self, h, edge_index):
        Wh = self.W(h)
        src, dst = edge_index
        e = torch.cat([Wh[src], Wh[dst]], dim=-1) @ self.a
        e = F.leaky_relu(e, self.negative_slope)
        alpha = torch.exp(e - e.max())
        alpha += 1e-16
        denom = torch.zeros(h.size(0)).index_add(0, dst, alpha)
        out = torch.zeros_like(Wh).index_add(0, dst, Wh[src] * (alpha / denom[dst]).unsqueeze(-1))
        return out
