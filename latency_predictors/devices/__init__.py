"""Devices: where networks are timed, and how."""
