"""What goes wrong: writes that meet a save, stale views, cuts, gradients that never arrive, buffers filled in place."""
