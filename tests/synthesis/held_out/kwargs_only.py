import torch


def attention(*, query, key, value, mask=None, scale: float | None = None):
    scale = scale or query.shape[-1] ** -0.5
    w = torch.softmax(query @ key.transpose(-2, -1) * scale, dim=-1)
    if mask is not None:
        w = w.masked_fill(mask, 0.0)
    w.div_(w.sum(-1, keepdim=True))
    return w @ value
