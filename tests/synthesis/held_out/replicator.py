import torch


def replicator_dynamics(payoff, x0, steps=5, dt=0.1):
    """Replicator dynamics for a symmetric game.

    Parameters
    ----------
    payoff : Tensor of shape (n, n)
    x0 : Tensor of shape (n,)
    """
    x = torch.softmax(x0, dim=0)
    for _ in range(steps):
        fitness = payoff @ x
        avg = x @ fitness
        x += dt * x * (fitness - avg)
    return x
