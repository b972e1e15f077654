"""Parts of a tensor that were split off at once: rewritten, and the tensor made of them again."""
