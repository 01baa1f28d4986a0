"""Metrics of what is measured beside latency, and the size of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import search_spaces
from latency_predictors import get
from latency_predictors.devices import quantities
from nas.errors import UsageError
from nas.export.onnx_model import to_onnx
from nas.search.limits import limited_metrics, parse, parse_all
from nas.search.measured_names import Measured, measured_name, measured_names
from nas.search.metrics import bound_name, cheap_metrics, find, measured_quantities, record
from nas.testing.toy_language import toy_space
from search_spaces import SearchSpace

MOBILE: dict[str, Any] = {
    "resolutions": [8], "in_channels": 1, "classes": 10, "stem": 8, "stem_stride": 1, "widths": [16, 24],
    "strides": [1, 2], "activations": ["relu", "hardswish"], "squeeze_excite": [False, True], "depths": [1, 2],
    "kernels": [3, 5], "expansions": [2, 4], "head": 64, "features": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "space",
    [search_spaces.get("mobilenetv3", **MOBILE), search_spaces.get("convnet", resolutions=[32], head=128)],
    ids=["8 pixels", "32 pixels"],
)
def test_size_is_that_of_the_exported_file(space: SearchSpace) -> None:
    """Also of files of some 30 kB, where the graph is a good part."""
    supernet = space.build_supernet()
    predicted = find("size_mb", cheap_metrics(space, {}))
    assert predicted.values is not None
    for architecture in (space.smallest(), space.largest()):
        network = space.build(architecture).eval()
        with torch.no_grad():  # as after training: the exporter stores equal constants once
            for value in (*network.parameters(), *network.buffers()):
                if value.is_floating_point():
                    value.copy_(torch.rand_like(value) + 0.1)
        size_mb = len(to_onnx(network, supernet.example_inputs(architecture))) / 1e6
        assert predicted.values(space.codes([architecture]))[0] == pytest.approx(size_mb, rel=0.03)


def test_every_quantity_is_a_metric_with_an_upper_end(small: SearchSpace) -> None:
    codes = small.random_codes(12, np.random.default_rng(0))
    noise = np.random.default_rng(1).uniform(0.8, 1.25, len(codes))
    predictors = {name: get("nonnegative")(small) for name in ("latency_ms", "peak_memory_mb", "energy_mj")}
    for scale, predictor in enumerate(predictors.values(), start=1):
        predictor.calibrate(codes, scale * (0.1 + small.macs(codes) / 1e6) * noise)
    metrics = cheap_metrics(small, {"dev": predictors, "other": {"latency_ms": predictors["latency_ms"]}})
    assert [metric.name for metric in metrics if "." in metric.name] == [
        "latency_ms.dev", "peak_memory_mb.dev", "energy_mj.dev", "latency_ms.other"
    ]  # fmt: skip
    assert {metric.unit for metric in metrics} == {"M", "MB", "ms", "mJ"}
    (row,) = record(metrics, codes[:1])
    for name, predictor in predictors.items():
        prediction = predictor.predict(codes[:1])
        assert row[f"{name}.dev"] == prediction.mean_ms[0]
        assert row[bound_name(f"{name}.dev")] == prediction.high_ms[0]
    value, high = row["peak_memory_mb.dev"], row["peak_memory_high_mb.dev"]
    assert value < high
    assert parse(f"peak_memory_mb.dev <= {(value + high) / 2}").missed_by(row) == pytest.approx((high - value) / 2)
    (limit,) = parse_all(["energy_mj.dev <= 50 %"], metrics, small)
    largest = predictors["energy_mj"].predict(small.codes([small.largest()])).mean_ms[0]
    assert limit.value == pytest.approx(largest / 2, rel=1e-3)


def test_each_phase_has_its_own() -> None:
    """Predicted ones by calibration, memory also by counting."""
    space = toy_space()
    codes = space.random_codes(12, np.random.default_rng(0))
    names = [measured_name(space, phase, name) for phase in space.phases for name in ("latency_ms", "peak_memory_mb")]
    assert names == ["prefill_16_ms", "prefill_16_peak_memory_mb", "decode_48_ms", "decode_48_peak_memory_mb"]
    predictors = {name: get("nonnegative")(space, name[: name.index("_", 8)]) for name in names}
    for scale, predictor in enumerate(predictors.values(), start=1):
        predictor.calibrate(codes, scale * (1 + space.macs(codes) / 1e6))
    metrics = cheap_metrics(space, {"dev": predictors})
    (row,) = record(metrics, codes[:1])
    for name, predictor in predictors.items():
        assert find(f"{name}.dev", metrics).unit == ("ms" if name.endswith("_ms") else "MB")
        assert row[f"{name}.dev"] == predictor.predict(codes[:1]).mean_ms[0]
    counted = {phase: space.memory_bytes(codes[:1], phase)[0] / 1e6 for phase in space.phases}
    assert {phase: row[f"{phase}_memory_mb"] for phase in space.phases} == pytest.approx(counted)
    assert row["memory_mb"] == pytest.approx(max(counted.values()))
    assert measured_names(space)["decode_48_energy_mj"] == Measured("decode_48", quantities.get("energy_mj"))
    wanted = measured_quantities(
        ["decode_48_memory_mb", "decode_48_peak_memory_mb.a", "prefill_16_ms.b"], ["a", "b"], space
    )
    assert wanted == {("a", "decode_48"): ["peak_memory_mb"], ("b", "prefill_16"): ["latency_ms"]}


@pytest.mark.parametrize(
    ("name", "bound"),
    [("latency_ms.local", "latency_high_ms.local"), ("first_ms.a_b-c", "first_high_ms.a_b-c")],
)
def test_name_of_the_upper_end(name: str, bound: str) -> None:
    assert bound_name(name) == bound


def test_names_tell_what_must_be_measured_where(small: SearchSpace) -> None:
    named = ["accuracy", "latency_ms.a", "load_ms.b", "size_mb", "energy_mj.b", "load_ms.b"]
    assert measured_quantities(named, ["a", "b", "c"], small) == {
        ("a", "inference"): ["latency_ms"], ("b", "inference"): ["load_ms", "energy_mj"]
    }  # fmt: skip
    limits = ["latency_ms.a <= 50 % and load_ms.b<=3", "size_mb <= 1"]
    assert limited_metrics(limits) == ["latency_ms.a", "load_ms.b", "size_mb"]
    for name, message in (
        ("peak_memory.a", "did you mean 'peak_memory_mb.a'"),
        ("load_ms.d", "there is no metric 'load_ms.d'"),
        ("size_md", "did you mean 'size_mb'"),
    ):
        with pytest.raises(UsageError, match=message):
            measured_quantities([name], ["a"], small)
    with pytest.raises(UsageError, match="'metric <= number'"):
        limited_metrics(["load_ms.b < 3"])


def test_an_unmeasured_quantity_says_what_to_do(small: SearchSpace) -> None:
    with pytest.raises(UsageError, match="load_ms was not measured: name it in the configuration"):
        find("load_ms.local", cheap_metrics(small, {}))
