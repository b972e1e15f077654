from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class VAEConfig:
    input_dim: int
    latent_dim: int
    hidden_dim: int = 32
    beta: float = 0.5


class VAE(nn.Module):
    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config = config
        self.encoder = nn.Linear(config.input_dim, config.hidden_dim)
        self.mu = nn.Linear(config.hidden_dim, config.latent_dim)
        self.log_var = nn.Linear(config.hidden_dim, config.latent_dim)
        self.decoder = nn.Linear(config.latent_dim, config.input_dim)

    def reparameterize(self, mu, log_var):
        std = torch.exp(0.5 * log_var)
        std += 1e-6
        return mu + torch.randn_like(std) * std

    def forward(self, x):
        h = torch.relu(self.encoder(x))
        z = self.reparameterize(self.mu(h), self.log_var(h))
        return self.decoder(z)
