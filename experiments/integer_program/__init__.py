"""Candidates of an integer program against random search, at equal numbers of evaluations."""
