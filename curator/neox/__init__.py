"""Runs of GPT-NeoX seen from outside: checkouts, what a checkpoint was trained with, and arms."""
