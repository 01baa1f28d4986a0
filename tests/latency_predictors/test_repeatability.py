from __future__ import annotations

from typing import Any

import pytest

from latency_predictors import Device
from latency_predictors.devices.repeatability import Repeatability, repeatability
from search_spaces import SearchSpace

QUIET = {"threads": 1, "cores": 4, "load_average": 0.1, "governor": "performance"}


@pytest.mark.parametrize(
    ("changes", "spinning", "told", "words"),
    [
        ({}, False, 1, ["nothing in its fingerprint", "taskset"]),
        ({"governor": None}, False, 1, ["nothing in its fingerprint"]),
        ({"governor": "powersave"}, False, 1, ["powersave", "cpupower frequency-set -g performance"]),
        ({"load_average": 2.5}, False, 1, ["close other programs", "2.5", "4 cores"]),
        ({"threads": 8}, False, 1, ["4 threads or fewer, not 8"]),
        ({"threads": 2}, False, 1, ["taskset -c 0-1", "--threads 1"]),
        ({"threads": 2}, True, 2, ["spinning=false"]),
        (
            {"threads": 8, "load_average": 3.0, "governor": "ondemand"},
            True,
            4,
            ["ondemand", "3.0", "not 8", "spinning"],
        ),
    ],
)
def test_advice_follows_the_fingerprint(changes: dict[str, Any], spinning: bool, told: int, words: list[str]) -> None:
    advice = Repeatability(0.5, 0.2, QUIET | changes, spinning).advice()
    assert len(advice) == told
    assert [word for word in words if word not in "; ".join(advice)] == []


@pytest.mark.parametrize(("spearman", "error", "fit"), [(0.97, 0.05, True), (0.96, 0.0, False), (1.0, 0.06, False)])
def test_the_verdict(spearman: float, error: float, fit: bool) -> None:
    assert Repeatability(spearman, error).fit == fit


def test_a_real_device_is_measured_twice(tiny: SearchSpace) -> None:
    told: list[tuple[int, int]] = []
    found = repeatability(Device("local"), tiny, 4, lambda done, total: told.append((done, total)))
    assert told[:12] == [(done, 24) for done in range(1, 13)]
    assert told[-1][0] == told[-1][1]
    assert -1 <= found.spearman <= 1
    assert 0 <= found.error < 10
    assert found.fingerprint["runtime"] == "onnxruntime"
