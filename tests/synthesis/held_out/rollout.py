import torch


def returns(rollout, gamma=0.99):
    logps = torch.stack([s["logp"] for s in rollout])
    ret = torch.zeros(len(rollout))
    running = 0.0
    for i in reversed(range(len(rollout))):
        running = rollout[i]["reward"] + gamma * running
        ret[i] = running
    adv = torch.exp(logps)
    adv -= adv.mean()
    return -(adv * ret).sum()
