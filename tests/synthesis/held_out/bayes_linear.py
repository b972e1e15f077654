import math

import torch
from torch import nn
from torch.nn import functional as F


class BayesLinear(nn.Module):
    def __init__(self, prior_mu, prior_sigma, in_features, out_features, bias=True):
        super().__init__()
        self.prior_mu = prior_mu
        self.prior_log_sigma = math.log(prior_sigma)
        self.weight_mu = nn.Parameter(torch.randn(out_features, in_features))
        self.weight_log_sigma = nn.Parameter(torch.zeros(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, input):
        sigma = torch.exp(self.weight_log_sigma)
        sigma.clamp_(max=2.0)
        weight = self.weight_mu + sigma * torch.randn_like(sigma)
        return F.linear(input, weight, self.bias)
