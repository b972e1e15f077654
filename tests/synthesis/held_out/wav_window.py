import torch


def overlap_add(frames: torch.Tensor, hop_length: int) -> torch.Tensor:
    """Overlap-add of frames.

    Args:
        frames (Tensor): shape (batch, n_frames, frame_length)
        hop_length (int): hop between frames
    """
    batch, n_frames, length = frames.shape
    out = torch.zeros(batch, (n_frames - 1) * hop_length + length)
    windowed = frames.exp()
    windowed[..., 0] = 0.0
    for i in range(n_frames):
        out[:, i * hop_length : i * hop_length + length] += windowed[:, i]
    return out
