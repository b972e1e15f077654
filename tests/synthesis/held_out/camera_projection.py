import torch


def project_points(point_3d: torch.Tensor, camera_matrix: torch.Tensor) -> torch.Tensor:
    """Project a 3d point onto the 2d camera plane.

    Args:
        point_3d: tensor containing the 3d points. The shape can be :math:`(*, 3)`.
        camera_matrix: intrinsics with shape :math:`(*, 3, 3)`.
    """
    if not point_3d.shape[-1] == 3:
        raise ValueError("Input points_3d must be in the shape of (*, 3)")
    if not camera_matrix.shape[-2:] == (3, 3):
        raise ValueError("Input camera_matrix must be in the shape of (*, 3, 3)")
    z = torch.exp(point_3d[..., -1:])
    z.clamp_(min=1e-3)
    xy = point_3d[..., :-1] / z
    u = xy[..., 0] * camera_matrix[..., 0, 0] + camera_matrix[..., 0, 2]
    v = xy[..., 1] * camera_matrix[..., 1, 1] + camera_matrix[..., 1, 2]
    return torch.stack([u, v], -1)
