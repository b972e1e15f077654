"""Programs grown by running them: each statement is tried on what those before it left, and kept if torch takes it.

`blocks.txt` holds statements of more than one line, `operations.txt` what fills their holes.
"""

from .grower import generate

__all__ = ["generate"]
