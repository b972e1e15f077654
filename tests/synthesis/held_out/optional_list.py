from typing import List, Optional, Tuple

import torch
from torch import Tensor


def merge(levels: List[Tuple[Tensor, Tensor]], bias: Optional[Tensor] = None) -> Tensor:
    total = torch.zeros(())
    for q, k in levels:
        att = torch.softmax(q @ k.transpose(-1, -2), dim=-1)
        att.masked_fill_(att < 0.05, 0.0)
        if bias is not None:
            att = att + bias
        total = total + att.sum()
    return total
