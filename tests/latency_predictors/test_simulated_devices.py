"""Simulated devices against one that is computed by hand, operator after operator."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

import search_spaces
from latency_predictors.devices.timing_graph import _WRITERS
from latency_predictors.simulated_devices import CLASSES, PRICES, Population, SimulatedDevices, _columns
from search_spaces import SearchSpace
from search_spaces.workload import Op, Workload

#: A population of devices without any effect beside prices.
PLAIN = Population(devices=5, window_deviation=0, roofline=0, parallel=0, cached=0, pooling_as_convolution=0, call=0)


def time_ms(workload: Workload, prices: dict[str, float]) -> float:
    """What a device of plain prices charges, written down for networks of convolutions."""
    total = 0.0
    for op in workload.ops:
        if op.kind == "reshape":
            continue
        read, written = (
            4 * sum(prod(shape) for shape in shapes)
            for shapes in (op.shapes[: len(op.inputs)], op.shapes[len(op.inputs) :])
        )
        kind = next(name for name, kinds in CLASSES.items() if op.kind in kinds)
        if kind == "compute":
            total += op.macs * prices[op.macs_kind] + read * prices["read"] + written * prices["written"]
        else:
            total += (read + written) * prices[f"moved_{kind}"]
        total += 4 * sum(map(prod, op.weights)) * prices["weights"] + prices[f"launch_{kind}"]
    return total


@pytest.mark.parametrize("name", ["convnet", "nasbench201", "fbnet"])
def test_latencies_are_sums_of_prices(name: str) -> None:
    space = search_spaces.get(name)
    codes = space.random_codes(6, np.random.default_rng(0))
    devices = SimulatedDevices(space, "inference", PLAIN)
    found = devices.log_ms(codes)
    table, _ = devices._prices_and_level
    workloads = [space.workload(architecture, "inference") for architecture in space.architectures(codes)]
    for device in range(PLAIN.devices):
        prices = dict(zip(PRICES, table[:, device], strict=True))
        logs = np.log([time_ms(workload, prices) for workload in workloads])
        np.testing.assert_allclose(found[:, device] - found[0, device], logs - logs[0], atol=2e-5)


def test_typical_architectures_are_around_0(convnet: SearchSpace) -> None:
    logs = SimulatedDevices(convnet, "inference").log_ms(convnet.random_codes(500, np.random.default_rng(1)))
    assert np.abs(logs.mean(axis=0)).max() < 0.5
    assert logs.shape == (500, Population().devices)


def test_a_call_costs_the_same_for_all_networks(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(50, np.random.default_rng(1))
    plain, called = (
        np.exp(SimulatedDevices(convnet, "inference", replace(PLAIN, call=share)).log_ms(codes)) for share in (0, 1)
    )
    for without, with_call in zip(
        plain.T, called.T, strict=True
    ):  # both up to a factor: a straight line, not through 0
        slope, constant = np.polyfit(without, with_call, 1)
        np.testing.assert_allclose(with_call, slope * without + constant, rtol=1e-4)
        assert constant > 0


def test_devices_differ_and_the_draw_repeats(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(200, np.random.default_rng(1))
    logs = SimulatedDevices(convnet, "inference").log_ms(codes)
    np.testing.assert_array_equal(logs, SimulatedDevices(search_spaces.get("convnet"), "inference").log_ms(codes))
    correlation = np.corrcoef(logs.T)
    assert correlation.min() < 0.5 < np.median(correlation)
    other = SimulatedDevices(convnet, "inference", Population(seed=1)).log_ms(codes)
    assert not np.array_equal(logs, other)


def conv(channels: int, size: int, kernel: int) -> Op:
    shape, weight = (1, channels, size, size), (channels, channels, kernel, kernel)
    return Op("conv", (0,), (1,), (shape, shape), (weight,), (("groups", 1),))


def times(ops: list[Op], **effects: float) -> np.ndarray:
    """Of operators on a hundred devices, relative to the same ones without the effects; shape (ops, 100)."""
    from latency_predictors.simulated_devices import _Draw

    plain = replace(PLAIN, devices=100)
    rows = np.array([_columns(op) for op in ops])
    found = []
    for population in (replace(plain, **effects), plain):
        draw = _Draw(population)
        found.append(draw.times(rows, draw.relative_prices))
    return found[0] / found[1]


def test_effects_are_what_they_say() -> None:
    small, large = conv(8, 4, 3), conv(64, 32, 3)
    parallel = times([small, large], parallel=1)
    assert (parallel >= 1).all()
    assert np.median(parallel[0] - parallel[1]) > 0  # few outputs leave a wide device idle
    cached = times([small, large], cached=1)
    assert (cached >= 1 - 1e-12).all()
    assert np.median(cached[1] - cached[0]) > 0  # what does not fit costs more
    roofline = times([small, large], roofline=1)
    assert (roofline <= 1 + 1e-12).all()
    assert (roofline > 0.49).all()  # a maximum of two is at least half of their sum
    windows = times([conv(8, 8, 3), conv(8, 8, 5)], window_deviation=1)
    np.testing.assert_allclose(windows[0], 1)
    assert windows[1].std() > 0.1


def test_all_operators_have_a_class() -> None:
    known = {kind for kinds in CLASSES.values() for kind in kinds}
    assert set(_WRITERS) - {"reshape"} == known
    with pytest.raises(ValueError, match="'fft' is in no class"):
        _columns(Op("fft", (0,), (1,), ((1, 4), (1, 4))))
