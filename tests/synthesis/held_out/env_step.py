import torch


def policy_loss(episodes, baseline):
    losses = []
    for ep in episodes:
        p = torch.softmax(ep.logits, -1)
        p += 1e-8
        logp = torch.log(p.gather(-1, ep.actions.unsqueeze(-1))).squeeze(-1)
        losses.append(-(logp * (ep.returns - baseline)).mean())
    return torch.stack(losses).mean()
