"""From what the interpreter wrote down to facts with severities and labelled places."""
