"""Asks the installed torch what each of its operators does to autograd; used by `make_torch_ops.py` and its test."""
