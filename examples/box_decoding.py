"""Decode the raw output of a one-scale detector into boxes and fit them to targets.

fails with: one of the variables needed for gradient computation has been modified by an inplace operation
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Detect(nn.Module):
    """Predicts (x, y, w, h, objectness, classes...) for every anchor of every cell."""

    def __init__(self, channels, anchors, num_classes=2, stride=8):
        super().__init__()
        self.no = 5 + num_classes
        self.na = len(anchors)
        self.stride = stride
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.get_default_dtype()))
        self.conv = nn.Conv2d(channels, self.na * self.no, 1)

    def make_grid(self, ny, nx):
        y, x = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
        return torch.stack((x, y), dim=-1).view(1, 1, ny, nx, 2)

    def forward(self, features):
        bs, _, ny, nx = features.shape
        raw = self.conv(features).view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2)

        pred = raw.sigmoid()
        grid = self.make_grid(ny, nx)
        pred[..., 0:2] = (pred[..., 0:2] * 2.0 - 0.5 + grid) * self.stride  # xy, in pixels
        pred[..., 2:4] = (pred[..., 2:4] * 2.0) ** 2 * self.anchors.view(1, self.na, 1, 1, 2)  # wh
        return pred.reshape(bs, -1, self.no)


def detection_loss(pred, boxes, objectness):
    box_loss = F.smooth_l1_loss(pred[..., :4], boxes, reduction="none").mean(-1)
    obj_loss = F.binary_cross_entropy(pred[..., 4], objectness)
    return (box_loss * objectness).sum() / objectness.sum() + obj_loss


def main():
    torch.manual_seed(0)
    model = Detect(channels=8, anchors=[(10, 13), (33, 23)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    features = torch.randn(2, 8, 4, 4)
    boxes = torch.rand(2, 32, 4) * 32
    objectness = (torch.rand(2, 32) > 0.7).float()
    for step in range(5):
        loss = detection_loss(model(features), boxes, objectness)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
