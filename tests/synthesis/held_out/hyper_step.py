import torch


def inner_loop(model, inputs, targets, loss_fn, inner_lr=0.01, num_steps=2):
    params = {name: p for name, p in model.named_parameters()}
    pred = torch.sigmoid(model(inputs))
    pred *= 0.9
    loss = loss_fn(pred, targets)
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    return sum((g * g).sum() for g in grads)
