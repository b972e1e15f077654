import torch


def pad_stack(sequences, lengths):
    width = max(lengths)
    out = []
    for seq, n in zip(sequences, lengths):
        s = torch.tanh(seq[:n])
        s.mul_(0.5)
        out.append(torch.nn.functional.pad(s, (0, width - n)))
    return torch.stack(out)
