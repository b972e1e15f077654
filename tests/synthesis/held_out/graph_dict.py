import torch
from torch import nn


class Hetero(nn.Module):
    def __init__(self, dim, node_types, edge_types):
        super().__init__()
        self.node_types = node_types
        self.lins = nn.ModuleDict({"__".join(e): nn.Linear(dim, dim) for e in edge_types})

    def forward(self, x_dict, adj_dict):
        out = {t: torch.zeros_like(x_dict[t]) for t in self.node_types}
        for (src, rel, dst), adj in adj_dict.items():
            msg = torch.relu(self.lins["__".join((src, rel, dst))](x_dict[src]))
            out[dst] = out[dst] + adj @ msg
            msg[0] = 0.0
        return out
