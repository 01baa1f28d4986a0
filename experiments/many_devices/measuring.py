"""`python -m experiments.many_devices.measuring`: all networks on record, on each device in one session.

Whatever is compared is measured together, all networks in turn, so that nothing depends on how fast the machine was on
another day. A device that lacks a network is measured anew with all of them.
"""

from __future__ import annotations

import sys

from experiments.many_devices.networks import model_file
from experiments.many_devices.settings import Settings, parser, settings
from experiments.rows import Row
from latency_predictors import Device, Failure, measure
from latency_predictors.devices.fingerprint import fingerprint


def measured(settings: Settings) -> None:
    """Measure on every device, unless its last session has all networks."""
    rows = settings.rows.read("network")  # the first ones tell how fast the machine is: they run everywhere
    keys = [row["key"] for row in sorted(rows, key=lambda row: (row["family"] != "supernet", row["key"]))]
    for device in settings.devices:
        if not keys or set(keys) <= set(session(settings, device.name)["keys"]):
            continue
        with settings.rows.timed("measuring", method=None, seed=None, device=device.name):
            settings.rows.keep("session", **_session(settings, device, keys))


def session(settings: Settings, device: str) -> Row:
    """The last session of a device; one without networks when there is none."""
    none: Row = {"keys": [], "latency_ms": [], "failures": {}}
    return ([none, *settings.rows.read("session", device=device)])[-1]


def _session(settings: Settings, device: Device, keys: list[str]) -> Row:
    models = [model_file(settings, key) for key in keys]
    marks = fingerprint(device)
    with settings.reporter.progress(f"measure {len(keys)} networks on {device.name}") as advance:
        results = measure(device, models, progress=advance, max_seconds=settings.max_seconds)
    failures = {key: found.reason for key, found in zip(keys, results, strict=True) if isinstance(found, Failure)}
    good = [found for found in results if not isinstance(found, Failure)]
    return {
        "device": device.name,
        "keys": keys,
        "latency_ms": [None if isinstance(found, Failure) else found.latency_ms for found in results],
        "failures": failures,
        "repeat_error": max((found.repeat_error for found in good), default=None),
        "fingerprint": marks,
    }


if __name__ == "__main__":
    measured(settings(parser(__doc__).parse_args(sys.argv[1:])))
