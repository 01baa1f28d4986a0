"""What elastic layers cost."""
