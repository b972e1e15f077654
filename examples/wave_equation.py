"""Recover the wave speed along a string from what one receiver recorded.

fails with: one of the variables needed for gradient computation has been modified by an inplace operation
"""

import torch

NX, NT = 40, 60
DX, DT = 1.0, 0.5


def laplacian(n):
    """Second difference with fixed ends."""
    return (torch.diag(torch.ones(n - 1), -1) - 2 * torch.eye(n) + torch.diag(torch.ones(n - 1), 1)) / DX**2


def pluck(n, centre=10.0, width=2.0):
    position = torch.arange(n) * DX
    return torch.exp(-(((position - centre) / width) ** 2))


def simulate(speed):
    """Leapfrog in time. Returns the displacement, one column per time step."""
    step = 2 * torch.eye(NX) + (speed * DT).square()[:, None] * laplacian(NX)

    u = torch.zeros(NX, NT)
    u[:, 0] = pluck(NX)
    u[:, 1] = 0.5 * step @ u[:, 0]  # released at rest
    for t in range(2, NT):
        u[:, t] = step @ u[:, t - 1] - u[:, t - 2]
    return u


def misfit(speed, record, receiver=30):
    u = simulate(speed)
    return torch.mean((u[receiver] - record) ** 2)


def main():
    torch.manual_seed(0)
    true_speed = 1.0 + 0.3 * torch.sigmoid((torch.arange(NX) - 20.0) / 2)
    with torch.no_grad():
        record = simulate(true_speed)[30]

    speed = torch.ones(NX, requires_grad=True)
    optimizer = torch.optim.Adam([speed], lr=0.02)
    for it in range(10):
        optimizer.zero_grad()
        loss = misfit(speed, record)
        loss.backward()
        optimizer.step()
        print(f"iteration {it}: misfit {loss.item():.3e}")


if __name__ == "__main__":
    main()
