"""Tensors and errors as JSON, for the check to compare: raw values when small, digest and projections when large."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import random
import sys

import torch

from gradfix.backward.worker.messages import ErrorMessage, TensorMessage

PROJECTIONS = 4
ROW = 1024  # elements weighted alike in every row; rows are weighted in turn
INLINE_BYTES = 64 * 1024  # a tensor up to this size travels whole
BUDGET_BYTES = 4 * 1024 * 1024  # … until a run has sent this much

_UPCAST = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.bool: torch.uint8}
_CODES = {
    torch.float32: "f",
    torch.float64: "d",
    torch.uint8: "B",
    torch.int8: "b",
    torch.int16: "h",
    torch.int32: "i",
    torch.int64: "q",
}


class Wire:
    """Turns tensors into messages and keeps count of what was sent."""

    def __init__(self) -> None:
        self._sent = 0

    def tensor(self, tensor: torch.Tensor) -> TensorMessage:
        """dtype, shape, and the values (`data` in `code`) or digest, `norm`, `projections` and NaN count."""
        message: TensorMessage = {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "requires_grad": bool(tensor.requires_grad),
        }
        if tensor.layout != torch.strided:
            message["layout"] = str(tensor.layout).removeprefix("torch.")
        flat = plain(tensor)
        if flat is None:
            return message
        raw = _bytes(flat)
        if len(raw) <= INLINE_BYTES and self._sent + len(raw) <= BUDGET_BYTES:
            self._sent += len(raw)
            return {**message, "code": _CODES[flat.dtype], "data": base64.b64encode(raw).decode("ascii")}
        return {**message, "digest": hashlib.blake2b(raw, digest_size=16).hexdigest(), **_projected(flat)}


def plain(tensor: torch.Tensor) -> torch.Tensor | None:
    """The values as one flat dense CPU tensor of a type that has a code; None for wrappers that hold no values."""
    try:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            flat = tensor.detach()
            if flat.layout != torch.strided:
                flat = flat.to_dense()
            flat = flat.resolve_conj().resolve_neg().cpu()
            flat = (torch.view_as_real(flat) if flat.is_complex() else flat).contiguous().reshape(-1)
            wide = _UPCAST.get(flat.dtype)
            flat = flat if wide is None else flat.to(wide)
            return flat if flat.dtype in _CODES and not _is_wrapper(tensor) else None
    except RuntimeError:
        return None


def layout(tensor: torch.Tensor) -> TensorMessage:
    """How it lies in memory, where every element has a cell of its own; a dimension of one element has no step."""
    with torch._C.DisableTorchFunction():
        if tensor.layout != torch.strided or 0 in tensor.stride():
            return {}
        return {"strides": [step if size > 1 else 0 for step, size in zip(tensor.stride(), tensor.shape)]}


def digest(tensor: torch.Tensor) -> str:
    """Names a tensor by type, shape and content: "float32[3]#9f…"."""
    flat = plain(tensor)
    content = "?" if flat is None else hashlib.blake2b(_bytes(flat), digest_size=8).hexdigest()
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}#{content}"


def _is_wrapper(tensor: torch.Tensor) -> bool:
    functorch = getattr(torch._C, "_functorch", None)
    return functorch is not None and bool(functorch.is_functorch_wrapped_tensor(tensor))


def _bytes(flat: torch.Tensor) -> bytes:
    """Little-endian bytes, without NumPy: it may be missing."""
    if flat.numel() == 0:
        return b""
    raw = ctypes.string_at(flat.data_ptr(), flat.numel() * flat.element_size())
    if sys.byteorder == "big" and flat.element_size() > 1:
        size = flat.element_size()
        raw = b"".join(raw[i : i + size][::-1] for i in range(0, len(raw), size))
    return raw


def _projected(flat: torch.Tensor) -> TensorMessage:
    """Sums against fixed weights: two tensors that agree in all of them are equal up to chance."""
    with torch._C.DisableTorchFunction(), torch.no_grad():
        values = flat.to(torch.float64)
        nans = int(torch.isnan(values).sum())
        values = torch.nan_to_num(values, nan=0.0, posinf=1e300, neginf=-1e300)
        norm = float(values.norm())
        rows = torch.nn.functional.pad(values, (0, -len(values) % ROW)).reshape(-1, ROW)
        sums = ((rows @ _weights(ROW)) * _weights(len(rows))).sum(0)
        return {"norm": norm, "projections": sums.tolist(), "nans": nans}


def _weights(length: int) -> torch.Tensor:
    """A column of numbers between -1 and 1 for each projection, the same in every run."""
    ramp = torch.arange(1, length + 1, dtype=torch.float64)[:, None]
    return torch.cos(ramp * torch.tensor([1.0 + 0.7310585 * k for k in range(PROJECTIONS)], dtype=torch.float64))


def rng_state() -> str:
    """Digest of the states of torch's and Python's generators, and of NumPy's when it is loaded."""
    states = [_bytes(torch.get_rng_state()), repr(random.getstate()).encode()]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        state = numpy.random.get_state()
        words = state[1].tobytes() if isinstance(state, tuple) else b""  # 624, which take long to print
        states += [words, repr(state[2:] if words else state).encode()]
    return hashlib.blake2b(b"".join(states), digest_size=8).hexdigest()


def error(raised: BaseException, subject: str) -> ErrorMessage:
    """Type, message and the last line of the subject file the error passed through."""
    line, trace = None, raised.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == subject:
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        message = str(raised)
    except BaseException:  # its own `__str__` may do anything
        message = "(its message can't be read)"
    kind = type(raised)
    if isinstance(raised, SyntaxError) and line is None:
        line = raised.lineno
    return {"type": kind.__qualname__, "message": message[:4000], "line": line}
