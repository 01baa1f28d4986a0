"""Limits in seconds are longer on a slower core, and never shorter."""

from __future__ import annotations

import pytest

from nas.testing import speed


def test_a_core_of_half_the_speed_has_twice_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 2.0, 10.0, 13.0] + [20.0, 24.0] * 3)
    monkeypatch.setattr(speed, "_work", lambda: 0.0)
    monkeypatch.setattr(speed, "thread_time", lambda: next(seconds))
    monkeypatch.setattr(speed, "REFERENCE_SECONDS", 1.0)
    assert speed.slowdown() == 2


def test_a_faster_core_has_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "REFERENCE_SECONDS", 1000.0)
    assert speed.slowdown() == 1
