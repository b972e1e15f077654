"""From fixes to verdicts: what is run for which fixes of a file, and whose verdict comes out of it."""
