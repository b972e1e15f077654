import torch


def pyramid(feats, heads, strides):
    boxes = []
    for f, head, s in zip(feats, heads, strides):
        p = head(f).sigmoid()
        p *= s
        boxes.append(p.flatten(1))
    return torch.cat(boxes, 1)
