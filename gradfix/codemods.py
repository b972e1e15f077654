"""Checkout bridge: the built-in codemods live in the top-level `codemods/` folder.

In an installed wheel the package folder `gradfix/codemods/` of the same name wins over this module.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "codemods")]
