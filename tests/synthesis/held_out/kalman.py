import torch


class KalmanFilter(torch.nn.Module):
    def __init__(self, state_dim, obs_dim):
        super().__init__()
        self.F = torch.nn.Parameter(torch.eye(state_dim))
        self.H = torch.nn.Parameter(torch.randn(obs_dim, state_dim))
        self.log_q = torch.nn.Parameter(torch.zeros(state_dim))
        self.log_r = torch.nn.Parameter(torch.zeros(obs_dim))

    def forward(self, observations):
        """observations: (T, obs_dim)"""
        T = observations.shape[0]
        n = self.F.shape[0]
        x = torch.zeros(n)
        P = torch.eye(n)
        means = torch.zeros(T, n)
        for t in range(T):
            x = self.F @ x
            P = self.F @ P @ self.F.T + torch.diag(self.log_q.exp())
            S = self.H @ P @ self.H.T + torch.diag(self.log_r.exp())
            K = torch.linalg.solve(S, self.H @ P).T
            x = x + K @ (observations[t] - self.H @ x)
            P = P - K @ self.H @ P
            means[t] = torch.tanh(x)
            x = means[t]
        return means
