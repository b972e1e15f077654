import torch
from torch import nn


class MaskedMeanPool(nn.Module):
    def __init__(self, hidden_size: int):
        super().__init__()
        self.score = nn.Linear(hidden_size, 1)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        scores = self.score(hidden_states).squeeze(-1).exp()
        scores[attention_mask == 0] = 0.0
        weights = scores / scores.sum(dim=-1, keepdim=True)
        return (hidden_states * weights.unsqueeze(-1)).sum(dim=1)
