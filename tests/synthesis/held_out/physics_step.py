import torch


class Simulator:
    """A chain of masses under gravity."""

    def __init__(self, num_masses: int, stiffness: float = 10.0, dt: float = 0.01):
        self.n = num_masses
        self.k = stiffness
        self.dt = dt

    def forces(self, pos):
        f = torch.zeros_like(pos)
        for i in range(self.n - 1):
            d = pos[i + 1] - pos[i]
            f[i] += self.k * d * d.norm()
            f[i + 1] -= self.k * d * d.norm()
        return f

    def step(self, pos, vel):
        vel = torch.tanh(vel + self.dt * self.forces(pos))
        vel[0] = 0.0
        return pos + self.dt * vel, vel
