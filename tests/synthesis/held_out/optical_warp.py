import torch
import torch.nn.functional as F


def warp(x, flo):
    """Warp an image according to the optical flow.

    x: [B, C, H, W] (im2)
    flo: [B, 2, H, W] flow
    """
    B, C, H, W = x.size()
    xx = torch.arange(0, W).view(1, -1).repeat(H, 1)
    yy = torch.arange(0, H).view(-1, 1).repeat(1, W)
    grid = torch.stack([xx, yy], 0).float()[None].repeat(B, 1, 1, 1)
    vgrid = torch.sin(grid + flo)
    vgrid[:, 0] = 2.0 * vgrid[:, 0].clone() / max(W - 1, 1) - 1.0
    vgrid[:, 1] = 2.0 * vgrid[:, 1].clone() / max(H - 1, 1) - 1.0
    return F.grid_sample(x, vgrid.permute(0, 2, 3, 1), align_corners=True)
