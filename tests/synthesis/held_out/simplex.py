from typing import Sequence, Union

import torch


def project(parts: Sequence[torch.Tensor], temperature: Union[float, torch.Tensor] = 1.0, *, keep: bool = True):
    out = []
    for idx, part in enumerate(parts):
        z = (part / temperature).exp()
        z /= z.sum(-1, keepdim=True)
        if not keep and idx == 0:
            continue
        out.append(z)
    return torch.cat(out, -1)
