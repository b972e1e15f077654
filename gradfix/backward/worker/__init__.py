"""What runs in the user's interpreter: the walls, the server behind them, one run and what it reports."""
