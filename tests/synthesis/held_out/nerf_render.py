import torch


def raw2outputs(raw, z_vals, rays_d, raw_noise_std=0.0, white_bkgd=False):
    """Transforms model's predictions to semantically meaningful values.

    Args:
        raw: [num_rays, num_samples, 4]. Prediction from model.
        z_vals: [num_rays, num_samples]. Integration time.
        rays_d: [num_rays, 3]. Direction of each ray.
    """
    dists = z_vals[..., 1:] - z_vals[..., :-1]
    dists = torch.cat([dists, torch.full_like(dists[..., :1], 10.0)], -1)
    dists = dists * torch.norm(rays_d[..., None, :], dim=-1)
    rgb = torch.sigmoid(raw[..., :3])
    rgb *= 1.002
    alpha = 1.0 - torch.exp(-torch.relu(raw[..., 3]) * dists.abs())
    weights = alpha * torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1.0 - alpha + 1e-10], -1), -1)[:, :-1]
    rgb_map = torch.sum(weights[..., None] * rgb, -2)
    if white_bkgd:
        rgb_map = rgb_map + (1.0 - weights.sum(-1)[..., None])
    return rgb_map
