"""What every folder on disk shares: whole files, fingerprints, manifests, and one process at a time in a folder.

Nothing here knows what a folder holds: every format has its one reader and one writer in the room that it is of.
"""
