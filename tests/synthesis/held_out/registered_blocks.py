import torch
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Registry:
    def __init__(self):
        self.blocks = {}

    def register(self, cls):
        self.blocks[cls.__name__] = cls
        return cls


BLOCKS = Registry()


@BLOCKS.register
class ResidualUnit(nn.Module):
    def __init__(self, channels, activation, norm=True):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.act = ACTIVATIONS[activation]()

    def forward(self, x):
        y = torch.tanh(self.norm(self.conv(x)))
        y += x
        return self.act(y)
