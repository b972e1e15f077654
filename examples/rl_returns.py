"""Learn the discount and a bootstrap value that make returns predict what an agent was really paid.

fails with: one of the variables needed for gradient computation has been modified by an inplace operation
"""

import torch
import torch.nn as nn


class ReturnModel(nn.Module):
    def __init__(self, obs_dim):
        super().__init__()
        self.value = nn.Linear(obs_dim, 1)
        self.gamma_logit = nn.Parameter(torch.tensor(2.0))

    @property
    def gamma(self):
        return torch.sigmoid(self.gamma_logit)

    def forward(self, rewards, dones, last_obs):
        """Discounted returns of one trajectory, filled from its end."""
        T = len(rewards)
        returns = torch.zeros(T)
        for t in reversed(range(T)):
            if dones[t]:  # the episode ended here: nothing to bootstrap from
                returns[t] = rewards[t]
            elif t == T - 1:
                returns[t] = rewards[t] + self.gamma * self.value(last_obs).squeeze(-1)
            else:
                returns[t] = rewards[t] + self.gamma * returns[t + 1]
        return returns


def true_returns(rewards, dones, gamma=0.97):
    out, running = [], 0.0
    for reward, done in zip(reversed(rewards.tolist()), reversed(dones.tolist())):
        running = reward + gamma * running * (not done)
        out.insert(0, running)
    return torch.tensor(out)


def main():
    torch.manual_seed(0)
    T, obs_dim = 24, 4
    rewards = torch.rand(T)
    dones = torch.rand(T) < 0.15
    last_obs = torch.randn(obs_dim)
    target = true_returns(rewards, dones)

    model = ReturnModel(obs_dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(10):
        loss = (model(rewards, dones, last_obs) - target).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.4f}, discount {model.gamma.item():.3f}")


if __name__ == "__main__":
    main()
