"""Profiles of networks on data sheets: memory by formulas, and large ones by counting only."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

import search_spaces
from latency_predictors.spec_sheet import SpecSheet
from nas.sheet_profile import PhaseProfile, load_networks, profiles

HALF = SpecSheet("half", 100, 10, weight_bits=4, activation_bits=16, memory_gb=1.0)


def test_models_of_billions_are_counted_not_built(tmp_path: Path) -> None:
    (tmp_path / "billions.yaml").write_text("name: b\nspace: {name: hybrid-slm, options: {preset: billions}}\n")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    space, networks = load_networks(str(tmp_path / "billions.yaml"), [])
    found = profiles(HALF, space, networks)
    assert {"smallest", "llama", "lfm2", "nemotron-flash", "uniform-mamba2", "largest"} <= set(networks)
    assert [row.phase for row in found] == list(space.phases) * len(networks)
    assert max(row.parameters_m for row in found) > 2900  # 12 GB at float32
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 1e6


def test_the_caches_are_those_of_the_formulas() -> None:
    """Keys and values of every token: 2 Hkv D L a layer; (k - 1) d of a short convolution; H K V of a linear mixer."""
    space = search_spaces.get(
        "hybrid-slm", mixers=["attention", "sliding_window", "short_convolution", "retnet"], widths=[128], depths=[3],
        heads=4, kv_heads=[2], windows=[32], states=[8], prefill=[64], decode=[512], kernel=3,
    )  # fmt: skip
    names = {
        "llama": "llama",
        "window": "uniform-sliding-window",
        "conv": "uniform-short-convolution",
        "net": "uniform-retnet",
    }
    found = profiles(HALF, space, {short: space.architecture(name) for short, name in names.items()})
    caches = {(row.network, row.phase.partition("_")[0]): row.caches_mb * 1e6 for row in found}
    kv = 3 * 2 * 2 * 32 * 2  # three layers, keys and values, two heads of 32 features, two bytes
    assert caches["llama", "prefill"] == kv * 64
    assert caches["llama", "decode"] == kv * 513  # with the token itself
    assert caches["window", "decode"] == pytest.approx(kv * 32, rel=0.05)
    assert caches["conv", "decode"] == caches["conv", "prefill"] == 3 * 2 * 128 * 2
    assert caches["net", "decode"] == caches["net", "prefill"] == 3 * 4 * 8 * 32 * 2


def test_memory_is_that_of_the_space_at_the_bits_of_the_sheet() -> None:
    space = search_spaces.get("hybrid-slm", depths=[2])
    networks = {name: space.architecture(name) for name in space.named}
    full = profiles(SpecSheet("float32", 1, 1), space, networks)
    small = profiles(HALF, space, networks)
    codes = space.codes(list(networks.values()))
    for number, phase in enumerate(space.phases):
        rows, fewer = full[number :: len(space.phases)], small[number :: len(space.phases)]
        assert [row.total_mb * 1e6 for row in rows] == pytest.approx(space.memory_bytes(codes, phase).tolist())
        assert [row.weights_mb / 8 for row in rows] == pytest.approx([row.weights_mb for row in fewer])
        assert [row.caches_mb / 2 for row in rows] == pytest.approx([row.caches_mb for row in fewer])
        assert min(row.activations_mb for row in rows) > 0


def test_what_is_too_large_for_the_device_is_told() -> None:
    def row(weights_mb: float) -> PhaseProfile:
        space = search_spaces.get("hybrid-slm", depths=[2])
        sheet = SpecSheet("tiny", 1, 1, memory_gb=weights_mb / 1e3)
        return profiles(sheet, space, {"largest": space.largest()})[0]

    needed = row(1.0).total_mb
    assert row(needed * 1.01).fits is True
    assert row(needed * 0.99).fits is False
    assert profiles(SpecSheet("any", 1, 1), (s := search_spaces.get("convnet")), {"a": s.smallest()})[0].fits is None


def test_what_takes_most_of_the_time_is_named() -> None:
    space = search_spaces.get("hybrid-slm", depths=[2])
    networks = {"largest": space.largest()}
    for sheet, bound in (
        (SpecSheet("a", 1e-3, 1e3), "compute"),
        (SpecSheet("b", 1e6, 1e-3), "memory"),
        (SpecSheet("c", 1e6, 1e6, launch_us=1e3), "launch"),
    ):
        row = profiles(sheet, space, networks)[0]
        assert row.bound == row.document()["bound"] == bound
        assert row.latency_ms == pytest.approx(row.arithmetic_ms + row.memory_ms + row.launches_ms)
