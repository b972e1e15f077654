"""Planted mistakes: rewrites spoilt in every way a verb could get them wrong, for the backward check to catch."""
