import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            nn.Linear(config["hidden"], config["hidden"]) for _ in range(config["num_layers"])
        )
        self.dropout = config.get("dropout", 0.0)

    def forward(self, inputs):
        x = inputs["embeds"]
        if "mask" in inputs:
            x = x * inputs["mask"].unsqueeze(-1)
        for layer in self.layers:
            y = torch.tanh(layer(x))
            y[..., 0] = 0
            x = x + y
        return {"hidden": x, "pooled": x.mean(1)}
