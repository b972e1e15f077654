import torch
from torch import nn


class Decoder(nn.Module):
    def __init__(self, output_size, hidden_size, max_length=5):
        super().__init__()
        self.embedding = nn.Embedding(output_size, hidden_size)
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, output_size)
        self.max_length = max_length

    def forward(self, encoder_outputs, encoder_hidden, target_tensor=None):
        batch_size = encoder_outputs.size(0)
        decoder_input = torch.zeros(batch_size, 1, dtype=torch.long)
        hidden = encoder_hidden
        outputs = []
        for i in range(self.max_length):
            step, hidden = self.gru(self.embedding(decoder_input), hidden)
            probs = torch.softmax(self.out(step), dim=-1)
            probs += 1e-5
            outputs.append(probs)
            if target_tensor is not None:
                decoder_input = target_tensor[:, i].unsqueeze(1)
            else:
                decoder_input = probs.argmax(-1).detach()
        return torch.cat(outputs, dim=1), hidden
