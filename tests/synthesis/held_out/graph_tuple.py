import torch


def message(graph):
    nodes, edges, senders, receivers = graph
    m = torch.relu(nodes[senders] + edges)
    m[0] = 0.0
    out = torch.zeros_like(nodes)
    return out.index_add(0, receivers, m)
