"""What may be true at one point of a program: values, tensors, storages, the graph and its saves, and how they join."""
