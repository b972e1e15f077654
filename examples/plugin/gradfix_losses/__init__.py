"""Codemods for gradfix, found through the entry-point group `gradfix.codemods`."""
