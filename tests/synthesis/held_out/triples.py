import torch
from torch import nn


class TransE(nn.Module):
    def __init__(self, entities, relations, dim):
        super().__init__()
        self.ent = nn.Embedding(entities, dim)
        self.rel = nn.Embedding(relations, dim)

    def score(self, triples):
        out = []
        for head, relation, tail in triples:
            d = torch.sigmoid(self.ent(head) + self.rel(relation) - self.ent(tail))
            d *= 2.0
            out.append(d.pow(2).sum(-1))
        return torch.stack(out)
