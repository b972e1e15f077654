import torch
import torch.nn as nn


def train_epoch(model, batches, optimizer):
    total = 0.0
    for images, labels in batches:
        optimizer.zero_grad()
        logits = torch.sigmoid(model(images))
        logits[:, 0] = 0.0
        loss = nn.functional.mse_loss(logits, labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total
