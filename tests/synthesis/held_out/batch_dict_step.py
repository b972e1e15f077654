import torch
import torch.nn as nn
import torch.nn.functional as F


class LitRegressor(nn.Module):
    def __init__(self, in_dim: int = 8, hidden: int = 16):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def training_step(self, batch, batch_idx):
        pred = self.net(batch["features"]).exp()
        weight = batch["weight"]
        pred[weight < 0] = 1.0
        return F.mse_loss(pred.squeeze(-1), batch["target"])
