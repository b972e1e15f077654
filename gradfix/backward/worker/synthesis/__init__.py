"""Calls made up for functions of a library, in the user's interpreter: clues, guesses, repairs, a search."""
