# fails whenever x[0] <= 0, with: element 0 of tensors does not require grad and does not have a grad_fn
import torch

x = torch.randn(3, requires_grad=True)
y = torch.zeros(3)
if x[0] > 0:
    y[0] = x[0]
z = y.sum()
z.backward()
print(x.grad)
