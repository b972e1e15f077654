"""The user's project: its files, its configuration, what its imports mean, and the interpreter that has its torch."""
