"""Two machines under one name are two devices."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from bank_records import marks, record

from latency_predictors import Record
from latency_predictors.devices.device import Device
from latency_predictors.devices.fingerprint import fingerprint
from latency_predictors.measurements import Measurements
from search_spaces import SearchSpace

DAY = "2026-01-{:02}T00:00:00+00:00"


class Listed(Measurements):
    """Those that it is given."""

    def __init__(self, *records: Record) -> None:
        self._records = records

    def _all(self) -> tuple[Record, ...]:
        return self._records


@pytest.mark.parametrize(
    "change",
    [
        {"processor": "b"},
        {"flags": "avx2 fma"},
        {"cores": 4},
        {"operating_system": "Windows-11"},
        {"runtime_version": "1.32.0"},
        {"threads": 2},
        {"processor": None},
    ],
)
def test_another_machine_under_the_same_name_is_not_mixed(tiny: SearchSpace, change: dict[str, Any]) -> None:
    old, new = record(tiny), record(tiny, 1, fingerprint=marks(**change, time=DAY.format(2)))
    both = Listed(old, new)
    (name,) = change
    message = rf"'board' are of 2 different devices \({old.device_id} has {name} .*; {new.device_id} has {name} "
    for ask in (lambda: both.records("board"), lambda: both.latencies(tiny, ["board"])):
        with pytest.raises(ValueError, match=message) as raised:
            ask()
        assert f"ask for one of them by its id, such as '{new.device_id}'" in str(raised.value)
    assert both.records(old.device_id) == [old]
    assert both.records(new.device_id) == [new]
    assert both.records() == [old, new]
    assert both.latencies(tiny).devices == (old.device_id, new.device_id)
    np.testing.assert_array_equal(both.latencies(tiny, [new.device_id]).latency_ms, [[2.0]])


@pytest.mark.parametrize("change", [{"options": {"threads": 2}}, {"backend": "openvino"}])
def test_other_options_or_another_runtime_are_not_mixed(tiny: SearchSpace, change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(ValueError, match=f"has {name} "):
        Listed(record(tiny), record(tiny, 1, **change)).records("board")


def test_what_passes_does_not_make_another_device(tiny: SearchSpace) -> None:
    later = marks(load_average=3.0, operating_system="Linux-6.9-x86_64", governor="performance", time=DAY.format(3))
    records = [record(tiny), record(tiny, fingerprint=later), record(tiny, 1, fingerprint=later)]
    assert Listed(*records).records("board") == records
    (device,) = Listed(*records).devices()
    assert (device.name, device.networks, device.failures) == ("board", 2, 0)
    assert device.spaces == (f"convnet@{tiny.fingerprint[:8]}",)
    assert device.last == datetime(2026, 1, 3, tzinfo=UTC)


def test_the_order_of_options_does_not_count(tiny: SearchSpace) -> None:
    one, other = (record(tiny, options=options) for options in ({"a": 1, "b": (2, 3)}, {"b": [2, 3], "a": 1}))
    assert one.device_id == other.device_id


def test_only_what_is_chosen_can_conflict(tiny: SearchSpace, convnet: SearchSpace) -> None:
    both = Listed(record(tiny), record(convnet, fingerprint=marks(cores=4)))
    assert len(both.records("board", tiny)) == 1
    assert both.latencies(convnet, ["board"]).latency_ms.shape == (1, 1)


def test_devices_are_sorted_and_tell_what_differs(tiny: SearchSpace, convnet: SearchSpace) -> None:
    records = [
        record(tiny, device="b"),
        record(tiny, device="a", fingerprint=marks(cores=4, time=DAY.format(2))),
        record(convnet, device="a"),
        record(tiny, device="a"),
    ]
    devices = Listed(*records).devices()
    assert [device.id for device in devices] == [records[3].device_id, records[1].device_id, records[0].device_id]
    assert [device.stable["cores"] for device in devices] == [2, 4, 2]
    assert [len(device.spaces) for device in devices] == [2, 1, 1]
    assert json.loads(json.dumps(devices[1].document()))["last"] == DAY.format(2)


def test_a_real_fingerprint_is_stable(tiny: SearchSpace) -> None:
    device = Device("local")
    one, other = (record(tiny, device="local", options={}, fingerprint=fingerprint(device)) for _ in range(2))
    assert one.device_id == other.device_id
    known = {name: value for name, value in one.stable.items() if name != "flags"}
    assert None not in known.values()
    assert one.stable["operating_system"] in ("Linux", "macOS", "Darwin")


def test_latencies_are_the_medians_of_sessions(tiny: SearchSpace) -> None:
    """Against the plain definition, cell by cell."""
    rng = np.random.default_rng(0)
    records = [
        record(
            tiny,
            int(rng.integers(6)),
            device=device,
            latency_ms=float(rng.uniform(1, 2)),
            fingerprint=marks(time=DAY.format(day)),
        )
        for day in range(1, 15)
        for device in ("a", "b")
    ]
    found = Listed(*records).latencies(tiny)
    assert [name.partition("@")[0] for name in found.devices] == ["a", "b"]
    seen = 0
    for architecture, row in zip(tiny.architectures(found.codes), found.latency_ms, strict=True):
        for device, latency_ms in zip("ab", row, strict=True):
            of_it = [r.latency_ms for r in records if r.device == device and r.architecture == architecture.values]
            seen += len(of_it)
            if of_it:
                assert latency_ms == np.median([ms for ms in of_it if ms is not None])
            else:
                assert np.isnan(latency_ms)
    assert seen == len(records)
    assert len(np.unique(found.codes, axis=0)) == len(found.codes)


def test_latencies_leave_out_what_does_not_belong(tiny: SearchSpace, convnet: SearchSpace) -> None:
    nothing = {"latency_ms": None, "median_ms": None, "samples_ms": (), "repeat_error": None}
    records = [
        record(tiny),
        record(tiny, 1, batch=8),
        record(tiny, 2, phase="decode"),
        record(convnet),
        record(tiny, 3, **nothing, failure="crash: signal 11"),
    ]
    found = Listed(*records).latencies(tiny)
    np.testing.assert_array_equal(found.codes, tiny.codes(tiny.sample(1, seed=0)))
    np.testing.assert_array_equal(found.latency_ms, [[1.0]])
    np.testing.assert_array_equal(Listed(*records).latencies(tiny, batch=8).latency_ms, [[2.0]])


def test_no_latencies_are_an_empty_matrix_and_an_unknown_device_raises(tiny: SearchSpace) -> None:
    found = Listed().latencies(tiny)
    assert (found.codes.shape, found.latency_ms.shape) == ((0, len(tiny.choices)), (0, 0))
    with pytest.raises(ValueError, match="no latencies of 'board' for space 'convnet'"):
        Listed().latencies(tiny, ["board"])
    with pytest.raises(ValueError, match=r"no latencies of 'bord'.*there are board@"):
        Listed(record(tiny)).latencies(tiny, ["bord"])
