"""What every training slot holds, and with which weight: masks, injections, replacements (numpy alone)."""
