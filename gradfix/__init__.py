"""gradfix finds PyTorch code that breaks backward, rewrites it out-of-place, and proves the rewrite."""

__version__ = "0.1.0"
