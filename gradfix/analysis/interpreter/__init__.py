"""The way through a file: statements, expressions, calls, classes, and where it is entered."""
