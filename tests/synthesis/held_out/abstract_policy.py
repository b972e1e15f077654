from abc import ABC, abstractmethod

import torch
from torch import nn


class Policy(nn.Module, ABC):
    @abstractmethod
    def logits(self, obs): ...

    def log_prob(self, obs, action):
        probs = torch.softmax(self.logits(obs), dim=-1)
        probs += 1e-6
        return probs.log().gather(-1, action.unsqueeze(-1)).squeeze(-1)


class LinearPolicy(Policy):
    def __init__(self, obs_dim, n_actions):
        super().__init__()
        self.layer = nn.Linear(obs_dim, n_actions)

    def logits(self, obs):
        return self.layer(obs)
