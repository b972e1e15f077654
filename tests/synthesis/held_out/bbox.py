import torch


def giou_loss(preds, targets, weights=None, eps=1e-7):
    assert preds.shape == targets.shape and preds.shape[-1] == 4
    lt = torch.max(preds[:, :2], targets[:, :2])
    rb = torch.min(preds[:, 2:], targets[:, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[:, 0] * wh[:, 1]
    wh += eps
    area = (preds[:, 2] - preds[:, 0]) * (preds[:, 3] - preds[:, 1])
    iou = inter / (area.abs() + eps)
    loss = 1 - iou
    if weights is not None:
        loss = loss * weights
    return loss.sum()
