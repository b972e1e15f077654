import torch


def laplacian_smoothing(verts, faces, lamb=0.5, iterations=2):
    """Smooth a mesh; verts is (V, 3), faces is (F, 3)."""
    v = torch.sin(verts)
    for _ in range(iterations):
        tri = v[faces]
        centre = tri.mean(dim=1)
        v[faces[:, 0]] = v[faces[:, 0]] * (1 - lamb) + lamb * centre
    return v
