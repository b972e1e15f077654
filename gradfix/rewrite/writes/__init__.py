"""Writes in place, as assignments of new tensors or on copies."""
