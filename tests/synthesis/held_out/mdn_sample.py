import torch
from torch import nn


class MDN(nn.Module):
    """Mixture density network.

    :param n_input: number of features
    :param n_gaussians: number of components
    """

    def __init__(self, n_input, n_hidden, n_gaussians):
        super().__init__()
        self.z_h = nn.Sequential(nn.Linear(n_input, n_hidden), nn.Tanh())
        self.z_pi = nn.Linear(n_hidden, n_gaussians)
        self.z_mu = nn.Linear(n_hidden, n_gaussians)
        self.z_sigma = nn.Linear(n_hidden, n_gaussians)

    def forward(self, x):
        z_h = self.z_h(x)
        pi = nn.functional.softmax(self.z_pi(z_h), -1)
        mu = self.z_mu(z_h)
        sigma = torch.exp(self.z_sigma(z_h))
        return pi, mu, sigma

    def nll(self, x, y):
        pi, mu, sigma = self(x)
        sigma += 1e-3
        log_prob = -0.5 * ((y.unsqueeze(-1) - mu) / sigma) ** 2 - sigma.log()
        return -torch.logsumexp(log_prob + pi.log(), dim=-1).mean()
