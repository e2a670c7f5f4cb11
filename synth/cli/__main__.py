"""``python -m synth.cli``."""

from synth.cli.app import main

main()
