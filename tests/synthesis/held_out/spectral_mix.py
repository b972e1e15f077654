import torch
import torch.nn as nn


class SpectralConv1d(nn.Module):
    def __init__(self, in_channels, out_channels, modes1):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.modes1 = modes1
        scale = 1 / (in_channels * out_channels)
        self.weights1 = nn.Parameter(scale * torch.rand(in_channels, out_channels, modes1))

    def forward(self, x):
        batchsize = x.shape[0]
        x_ft = torch.fft.rfft(x).real
        gate = torch.sigmoid(x_ft)
        gate[:, :, 0] = 1.0
        out = torch.einsum("bix,iox->box", (gate * x_ft)[:, :, : self.modes1], self.weights1)
        return out
