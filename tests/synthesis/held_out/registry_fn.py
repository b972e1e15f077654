import torch
import torch.nn.functional as F

ACTS = {"silu": F.silu, "gelu": F.gelu, "sigmoid": torch.sigmoid}


def gated(x, act, gate):
    if act not in ACTS:
        raise ValueError(f"unknown activation {act!r}, choose from {sorted(ACTS)}")
    g = torch.sigmoid(gate)
    y = ACTS[act](x) * g
    g -= 0.5
    return y + g
