"""Functions that write to their arguments, returning them, and their callers."""
