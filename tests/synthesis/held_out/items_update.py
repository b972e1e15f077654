import torch


def soft_targets(outputs, targets):
    losses = {}
    for name, out in outputs.items():
        prob = torch.softmax(out, dim=-1)
        prob[:, 0] = prob[:, 0] * 0.5
        losses[name] = -(targets[name] * torch.log(prob + 1e-6)).sum()
    return sum(losses.values())
