import torch
import torch.nn as nn
import torch.nn.functional as F


class NTXentLoss(nn.Module):
    def __init__(self, temperature=0.5):
        super().__init__()
        self.temperature = temperature

    def forward(self, z_i, z_j):
        batch_size = z_i.size(0)
        z = F.normalize(torch.cat([z_i, z_j], dim=0), dim=1)
        sim = torch.exp(z @ z.T / self.temperature)
        sim.fill_diagonal_(0.0)
        pos = torch.cat([torch.diag(sim, batch_size), torch.diag(sim, -batch_size)])
        return -torch.log(pos / sim.sum(dim=1)).mean()
