import torch


def generalized_box_iou(boxes1, boxes2, eps=1e-7):
    """GIoU of boxes in (x1, y1, x2, y2) format, both of shape [N, 4]."""
    lt = torch.max(boxes1[:, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, 2:], boxes2[:, 2:])
    wh = torch.exp(rb - lt)
    wh[:, 0] = wh[:, 0] + eps
    inter = wh[:, 0] * wh[:, 1]
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    union = area1 + area2 - inter
    return inter / (union.abs() + eps)
