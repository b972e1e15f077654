"""Saved-tensor hooks around code of any kind, that of `torch.func` included."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

Hook = Callable[[Any], Any]


@contextlib.contextmanager
def saving(pack: Hook, unpack: Hook) -> Iterator[None]:
    """Have `pack` called for what autograd saves and `unpack` for what it takes back.

    The transforms of `torch.func` raise under any hooks (measured on 2.4, 2.13-2.15). So these are set aside while
    one runs: what is saved inside stays unseen.
    """
    graph, hooks = torch.autograd.graph, torch._C._autograd
    plain, shown = graph.disable_saved_tensors_hooks, getattr(hooks, "_top_saved_tensors_default_hooks", None)
    aside = False

    @contextlib.contextmanager
    def without(message: str) -> Iterator[None]:
        nonlocal aside
        top = shown(False) if shown is not None and not aside else (pack, unpack)  # 2.4 doesn't show it
        if aside or top is None or top[0] is not pack:  # one inside another; or the user's own, which torch refuses
            with plain(message):
                yield
            return
        hooks._pop_saved_tensors_default_hooks()
        aside = True
        try:
            with plain(message):
                yield
        finally:
            aside = False
            hooks._push_saved_tensors_default_hooks(pack, unpack)

    graph.disable_saved_tensors_hooks = without
    try:
        with graph.saved_tensors_hooks(pack, unpack):
            yield
    finally:
        graph.disable_saved_tensors_hooks = plain
