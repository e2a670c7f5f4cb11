"""From rankings and rows to plans: what is masked, what is put in, and where; and what a plan amounts to."""
