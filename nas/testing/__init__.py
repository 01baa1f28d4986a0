"""Contract suites: subclass one, give its fixtures, and pytest runs every check on your space, predictor or backend."""
