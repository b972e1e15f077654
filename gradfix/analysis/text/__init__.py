"""What the text alone tells, before anything is interpreted: names, scopes, spellings, shapes that read alike."""
