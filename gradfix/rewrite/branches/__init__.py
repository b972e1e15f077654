"""Buffers that only a branch connects to the leaves, connected on every way."""
