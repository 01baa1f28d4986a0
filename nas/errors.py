"""Errors that the command line shows as one plain sentence."""

from __future__ import annotations


class UsageError(ValueError):
    """The request itself is wrong (configuration, arguments, a run directory that does not fit): exit code 2."""


class CheckFailed(RuntimeError):
    """The request was carried out and the answer is no (a limit cannot be met, a check failed): exit code 1."""
