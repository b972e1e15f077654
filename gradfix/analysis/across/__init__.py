"""What one file knows of another: effects of its functions, summarised, to a fixed point."""
