import torch


def newton_schulz(G, steps=3, eps=1e-7):
    """Orthogonalise a matrix."""
    assert len(G.shape) == 2
    X = G / (G.norm() + eps)
    if G.size(0) > G.size(1):
        X = X.T
    for _ in range(steps):
        A = X @ X.T
        B = torch.tanh(A)
        B *= 0.5
        X = 1.5 * X - B @ X
    if G.size(0) > G.size(1):
        X = X.T
    return X
