import torch


def fuse(streams, gates):
    state = torch.zeros_like(streams[0][0])
    for step, (value, key) in enumerate(streams):
        gate = torch.sigmoid(key * gates[step])
        state = state + gate * value
        gate.mul_(0.5)
    return state
