from typing import List

import torch
from torch import Tensor, nn


class ConvBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class UNetDecoder(nn.Module):
    def __init__(self, encoder_channels: List[int], out_channels: int = 1) -> None:
        super().__init__()
        channels = encoder_channels[::-1]
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.blocks = nn.ModuleList(ConvBlock(c, c_out) for c, c_out in zip(channels[:-1], channels[1:]))
        self.head = nn.Conv2d(channels[-1], out_channels, 1)

    def forward(self, features: List[Tensor]) -> Tensor:
        x = features[-1]
        for block, skip in zip(self.blocks, features[-2::-1]):
            x = torch.tanh(block(self.up(x)))
            x += skip
        return self.head(x)
