# fails with: one of the variables needed for gradient computation has been modified by an inplace operation
import torch

x = torch.randn(3, requires_grad=True)
y = x.exp()
y[0] = 10
z = y.sum()
z.backward()
print(x.grad)
