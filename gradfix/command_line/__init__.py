"""The outside: options, one invocation's wiring, the terminal, and exit codes."""
