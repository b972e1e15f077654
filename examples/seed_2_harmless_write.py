# runs: `+` keeps nothing for backward, so the write harms nothing and the gradient is [0, 1, 1]
import torch

x = torch.randn(3, requires_grad=True)
y = x + 2
y[0] = 10
z = y.sum()
z.backward()
print(x.grad)
