import torch
import torch.nn as nn


class CRF(nn.Module):
    def __init__(self, num_tags: int, batch_first: bool = False):
        super().__init__()
        self.num_tags = num_tags
        self.batch_first = batch_first
        self.start = nn.Parameter(torch.empty(num_tags).uniform_(-0.1, 0.1))
        self.trans = nn.Parameter(torch.empty(num_tags, num_tags).uniform_(-0.1, 0.1))

    def forward(self, emissions: torch.Tensor, tags: torch.LongTensor, mask=None) -> torch.Tensor:
        if emissions.dim() != 3:
            raise ValueError(f"emissions must have dimension of 3, got {emissions.dim()}")
        if emissions.size(2) != self.num_tags:
            raise ValueError(f"expected last dimension of emissions is {self.num_tags}, got {emissions.size(2)}")
        if emissions.shape[:2] != tags.shape:
            raise ValueError("the first two dimensions of emissions and tags must match")
        if self.batch_first:
            emissions = emissions.transpose(0, 1)
            tags = tags.transpose(0, 1)
        return self._normalizer(emissions)

    def _normalizer(self, emissions):
        score = self.start + emissions[0]
        for i in range(1, emissions.size(0)):
            nxt = score.unsqueeze(2) + self.trans + emissions[i].unsqueeze(1)
            score = torch.logsumexp(nxt, dim=1)
            score -= score.mean()
        return torch.logsumexp(score, dim=1)
