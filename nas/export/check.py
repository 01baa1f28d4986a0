"""The result of one check of a verification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """What was expected and what was found, in words and units.

    Attributes:
        name: what was checked.
        passed: whether it holds.
        expected: for people.
        found: for people.
    """

    name: str
    passed: bool
    expected: str
    found: str
