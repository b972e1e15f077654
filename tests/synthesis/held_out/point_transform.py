import torch
import torch.nn as nn


class STN3d(nn.Module):
    def __init__(self, channel):
        super().__init__()
        self.conv1 = nn.Conv1d(channel, 64, 1)
        self.conv2 = nn.Conv1d(64, 128, 1)
        self.fc = nn.Linear(128, 9)
        self.bn1 = nn.BatchNorm1d(64)

    def forward(self, x):
        batchsize = x.size()[0]
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x))
        x = torch.max(x, 2, keepdim=True)[0].view(-1, 128)
        x = torch.tanh(self.fc(x))
        iden = torch.eye(3).flatten().repeat(batchsize, 1)
        x += iden
        return x.view(-1, 3, 3)
