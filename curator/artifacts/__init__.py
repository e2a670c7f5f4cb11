"""What every folder on disk shares: atomic writes, fingerprints, and the processes that write."""
