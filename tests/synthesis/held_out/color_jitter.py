import torch


def rgb_to_hsv_value(image: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """Convert an image of shape :math:`(*, 3, H, W)`."""
    if len(image.shape) < 3 or image.shape[-3] != 3:
        raise ValueError(f"Input size must have a shape of (*, 3, H, W). Got {image.shape}")
    max_rgb, argmax_rgb = image.max(-3)
    min_rgb, argmin_rgb = image.min(-3)
    deltac = max_rgb - min_rgb
    s = torch.sqrt(deltac + eps)
    s[deltac < 0.1] = 0.0
    r, g, b = torch.unbind(image, dim=-3)
    return torch.stack((s, max_rgb, r + g + b), dim=-3)
