"""Spaces of published tables of measurements, as ordinary spaces: they can be traced, timed, searched and trained."""
