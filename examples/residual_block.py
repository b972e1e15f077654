"""A small residual network that learns to tell horizontal from vertical stripes.

fails with: one of the variables needed for gradient computation has been modified by an inplace operation
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        identity = x

        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))

        out += identity  # skip connection
        return out


class StripeNet(nn.Module):
    def __init__(self, channels=4, depth=2):
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.Sequential(*[ResidualBlock(channels) for _ in range(depth)])
        self.head = nn.Linear(channels, 2)

    def forward(self, images):
        features = self.blocks(self.stem(images))
        return self.head(features.mean(dim=(2, 3)))


def make_batch(n=16, size=8):
    labels = torch.arange(n) % 2
    stripes = (torch.arange(size) % 2).to(torch.get_default_dtype()).expand(size, size)
    images = torch.stack([stripes if label else stripes.t() for label in labels])
    return images.unsqueeze(1) + 0.3 * torch.randn(n, 1, size, size), labels


def main():
    torch.manual_seed(0)
    model = StripeNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images, labels = make_batch()
    for step in range(5):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
