"""Built-in codemods, one a module."""

if __name__ != "gradfix.codemods":
    raise ImportError("import these as gradfix.codemods, not as codemods")
