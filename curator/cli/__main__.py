"""``python -m curator.cli``."""

from curator.cli.app import main

main()
