"""Whether patterns occur where influence is high, and whether rendered rows carry it."""
