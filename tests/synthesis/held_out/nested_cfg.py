import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.norm = nn.LayerNorm(cfg.model.width)
        self.up = nn.Linear(cfg.model.width, cfg.model.width * cfg.model.expand)
        self.down = nn.Linear(cfg.model.width * cfg.model.expand, cfg.model.width)

    def forward(self, x, cond=None):
        h = torch.sigmoid(self.up(self.norm(x)))
        if cond is not None:
            h = h * cond["scale"]
        h *= self.cfg.train.gain
        y = self.down(h)
        h += 1
        return x + y
