"""Verbs that rewrite: a statement and its facts in, edits of the original text out.

The verbs are cheap and import nothing heavy; LibCST is imported when an edit is built.
"""

from gradfix.rewrite.rebind import rebind

__all__ = ["rebind"]
