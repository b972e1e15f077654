"""Bring the table of codemods in README.md up to date: `python scripts/write_tables.py` (a test checks that it is)."""

from __future__ import annotations

from pathlib import Path

from gradfix import registry
from gradfix.report import pages


def main() -> None:
    """Rewrite the table between its marks."""
    readme = Path(__file__).resolve().parent.parent / "README.md"
    readme.write_text(pages.with_table(readme.read_text(encoding="utf-8"), registry.builtin()), encoding="utf-8")


if __name__ == "__main__":
    main()
