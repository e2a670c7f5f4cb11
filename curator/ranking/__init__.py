"""The ranking: its folder, the sharded and resumable run that makes it, and what is chosen from it."""
