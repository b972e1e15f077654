"""The original text: names, places and pieces of it, statements as trees, lines broken."""
