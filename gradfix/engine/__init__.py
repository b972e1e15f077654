"""The pure middle: what is found in a source, and its fixes made to a fixed point."""
