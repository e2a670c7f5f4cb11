"""What people look at: samples as text, plots."""
