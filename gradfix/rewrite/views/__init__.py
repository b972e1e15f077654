"""Views: the way back to their base, replayed, and views taken one by one."""
