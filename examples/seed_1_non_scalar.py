# fails with: grad can be implicitly created only for scalar outputs
import torch

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = torch.tensor([4.0, 5.0, 6.0])
z = x + y
z.backward()
print(x.grad)
