"""Which tensors have a memory cell in common: who writes to one of them changes the other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch

_MOST_CELLS = 16_384  # of a tensor with gaps between its elements, beyond which those count, too
_MOST_ALIKE = 16  # tensors looked at of one memory


def sharing(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, str]]:
    """The pairs of names whose tensors share a cell, in the order of the names. Wrappers have no memory to look at."""
    alike: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        memory = _memory(tensor)
        if memory:
            alike.setdefault(memory, []).append(name)
    pairs = itertools.chain.from_iterable(itertools.combinations(names[:_MOST_ALIKE], 2) for names in alike.values())
    return [(one, other) for one, other in pairs if _meet(tensors[one], tensors[other])]


def _memory(tensor: torch.Tensor) -> int:
    """The address of a tensor's storage; 0 where it has none."""
    try:
        with torch._C.DisableTorchFunction():
            return int(tensor.untyped_storage().data_ptr()) if tensor.numel() else 0
    except (RuntimeError, NotImplementedError):
        return 0


def _meet(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one storage have a cell in common."""
    if one is other:
        return True
    with torch._C.DisableTorchFunction(), torch.no_grad():
        ours, theirs = _span(one), _span(other)
        both = range(max(ours.start, theirs.start), min(ours.stop, theirs.stop))
        if not both:
            return False
        with_gaps = [t for t, span in ((one, ours), (other, theirs)) if t.numel() * t.element_size() != len(span)]
        if not with_gaps or any(tensor.numel() > _MOST_CELLS for tensor in with_gaps):
            return True
        cells = [_cells(tensor) for tensor in with_gaps]
        met = torch.isin(*cells) if len(cells) == 2 else (cells[0] >= both.start) & (cells[0] < both.stop)
        return bool(met.any())


def _span(tensor: torch.Tensor) -> range:
    """The bytes from its first element to its last."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride()))
    start, width = tensor.storage_offset(), tensor.element_size()
    return range(start * width, (start + last + 1) * width)


def _cells(tensor: torch.Tensor) -> torch.Tensor:
    """Where each element begins, in bytes."""
    cells = torch.tensor([tensor.storage_offset()])
    for size, step in zip(tensor.shape, tensor.stride()):
        cells = (cells[:, None] + step * torch.arange(size)).reshape(-1)
    return cells * tensor.element_size()
