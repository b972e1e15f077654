"""Buffers filled piece by piece, as lists that are stacked or joined."""
