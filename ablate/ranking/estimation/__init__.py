"""Effects, their intervals and spreads."""
