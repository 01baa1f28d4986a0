"""`python -m experiments.measuring_speed`: seconds to build and measure distinct networks on a device."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter

import numpy as np

import search_spaces
from latency_predictors import Device, Failure, Measurement, measure_architectures
from latency_predictors.devices.measuring import TimingGraphs
from nas.progress import Reporter


def processor_seconds() -> float:
    """Of this process and of those it has waited for."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--space", default="convnet")
    parser.add_argument("--device", default="local")
    parser.add_argument("--seconds", type=float, default=300.0, help="no rounds are added after this time")
    arguments = parser.parse_args()
    space, device = search_spaces.get(arguments.space), Device.load(arguments.device)
    architectures = space.sample(arguments.networks, seed=0)
    started, before = time.monotonic(), processor_seconds()
    for graph in TimingGraphs(space, architectures[:20], "inference"):
        assert graph
    print(
        f"building a graph: {(time.monotonic() - started) / 20:.3f} s, {(processor_seconds() - before) / 20:.3f} s CPU"
    )
    started, before = time.monotonic(), processor_seconds()
    with Reporter().progress("measure") as advance:
        found = measure_architectures(device, space, architectures, max_seconds=arguments.seconds, progress=advance)
    wall, processor = time.monotonic() - started, processor_seconds() - before
    measured = [one for one in found if isinstance(one, Measurement)]
    failures = Counter(one.kind for one in found if isinstance(one, Failure))
    latencies_ms = np.array([one.latency_ms for one in measured])
    rounds = [len(one.samples_ms) // 3 for one in measured]
    print(f"{len(found)} networks: {wall:.0f} s, {processor:.0f} s CPU")
    print(f"failures: {dict(failures) or 'none'}; stable: {sum(one.stable for one in measured)}")
    print(f"repeat error, median of the chunks: {np.median([one.repeat_error for one in measured]):.2%}")
    print(f"rounds: {min(rounds)} to {max(rounds)}; samples of a network: {3 * min(rounds)} to {3 * max(rounds)}")
    print(f"latency: {latencies_ms.min():.3f} to {latencies_ms.max():.3f} ms, median {np.median(latencies_ms):.3f} ms")


if __name__ == "__main__":
    main()
