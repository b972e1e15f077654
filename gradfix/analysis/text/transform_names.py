"""Names of functions that differentiate or map a function they are given: in `torch.func` and `torch.autograd`."""

from __future__ import annotations

# Backward runs inside: what the function saves may be missed.
REVERSE = frozenset("grad grad_and_value vjp jacrev jacobian hessian hvp vhp gradcheck gradgradcheck".split())
TRANSFORMS = REVERSE | frozenset({"jvp", "jacfwd", "vmap"})
