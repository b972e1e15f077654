"""The tracer: every way in which one run breaks backward, with the expressions that did it.

Loaded by path into the user's interpreter, where gradfix isn't installed: standard library and torch only.
`trace.Tracer` is the way in.
"""
