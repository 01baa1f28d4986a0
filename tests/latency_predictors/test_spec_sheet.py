"""Rooflines of data sheets, against sums by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces
from latency_predictors.spec_sheet import SpecSheet
from search_spaces import SearchSpace

V, D, H, T, L = 11, 4, 2, 3, 5  # tokens that there are, width, heads, prompt, context
HIDDEN = 2 * D


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get(
        "hybrid-slm", vocabulary=V, widths=[D], depths=[1], heads=H, kv_heads=[1], mixers=["skip", "attention"],
        ratios=[2], prefill=[T], decode=[L],
    )  # fmt: skip


def feed_forward_network(tokens: int, weight: float, value: float) -> list[tuple[float, float]]:
    """FLOPs and bytes of each operator of embedding, SwiGLU and head, written down by hand."""

    def linear(rows: int, inputs: int, outputs: int) -> tuple[float, float]:
        return 2 * rows * inputs * outputs, weight * inputs * outputs + value * rows * (inputs + outputs)

    def norm(rows: int) -> tuple[float, float]:
        return 0, weight * D + value * 2 * rows * D

    last = [(0.0, value * 2 * D)] if tokens > 1 else []  # only the last token gets logits
    return [
        (0, weight * tokens * D + value * (tokens + tokens * D)),
        norm(tokens),
        linear(tokens, D, HIDDEN),
        (0, value * 2 * tokens * HIDDEN),
        linear(tokens, D, HIDDEN),
        (0, value * 3 * tokens * HIDDEN),
        linear(tokens, HIDDEN, D),
        (0, value * 3 * tokens * D),
        *last,
        norm(1),
        linear(1, D, V),
    ]


@pytest.mark.parametrize(("phase", "tokens"), [(f"prefill_{T}", T), (f"decode_{L}", 1)])
@pytest.mark.parametrize(("peak", "bandwidth"), [(1e-6, 1.0), (1.0, 1e-6), (1.5e-6, 2.5e-6)])
def test_the_time_is_the_slower_of_both_for_each_operator(
    space: SearchSpace, phase: str, tokens: int, peak: float, bandwidth: float
) -> None:
    sheet = SpecSheet("by hand", peak, bandwidth, launch_us=7, weight_bits=4, activation_bits=16)
    ops = feed_forward_network(tokens, 0.5, 2)
    bound = [(flops / (peak * 1e9), moved / (bandwidth * 1e9)) for flops, moved in ops]
    times = sheet.times(space, space.codes([space.smallest()]), phase)
    assert times.arithmetic_ms[0] == pytest.approx(1e3 * sum(a for a, m in bound if a >= m))
    assert times.memory_ms[0] == pytest.approx(1e3 * sum(m for a, m in bound if a < m))
    assert times.launches_ms[0] == pytest.approx(len(ops) * 7e-3)
    assert times.total_ms[0] == pytest.approx(1e3 * sum(map(max, bound)) + len(ops) * 7e-3)


@pytest.mark.parametrize("preset", ["llama-3.2-1b", "billions"])
def test_a_llama_that_is_bound_by_arithmetic_takes_two_flops_a_parameter(preset: str) -> None:
    """No memory traffic: 2 P T, of all but the embedding, plus 4 T^2 (or 4 L) times the width in each attention."""
    space = search_spaces.get("hybrid-slm", preset=preset)
    llama = space.architecture("llama")
    values, options = llama.values, space.options
    width, depth, heads = int(values["width"]), int(values["depth"]), options["heads"]
    kv = width // heads * int(values["layer1_kv_heads"])
    hidden = round(float(values["layer1_ratio"]) * width)
    layer = 2 * width * width + 2 * width * kv + 3 * width * hidden
    sheet = SpecSheet("no memory", peak_gflops=1000, bandwidth_gbs=1e12)
    for phase in space.phases:
        kind, _, number = phase.partition("_")
        tokens, seen = (int(number), int(number)) if kind == "prefill" else (1, int(number) + 1)
        flops = 2 * depth * layer * tokens + 2 * width * options["vocabulary"] + depth * 4 * tokens * seen * width
        found = sheet.times(space, space.codes([llama]), phase)
        assert found.arithmetic_ms[0] == pytest.approx(flops / 1e9, rel=1e-6)


def test_decoding_that_is_bound_by_memory_reads_all_weights_once() -> None:
    """The traffic of the next token of Llama-3.2-1B without context: its 1.236 billion weights, within 0.1 %."""
    space = search_spaces.get("hybrid-slm", preset="llama-3.2-1b", decode=[1], prefill=[8])
    sheet = SpecSheet("no arithmetic", peak_gflops=1e12, bandwidth_gbs=100, weight_bits=4, activation_bits=16)
    found = sheet.times(space, space.codes([space.architecture("llama")]), "decode_1")
    assert found.memory_ms[0] == pytest.approx(1.2358e9 * 0.5 / 100e9 * 1e3, rel=0.01)


def test_a_file_has_the_figures(tmp_path: Path) -> None:
    (tmp_path / "phone.yaml").write_text("peak_gflops: 100\nbandwidth_gbs: 20.5\nmemory_gb: 4\n")
    assert SpecSheet.load(tmp_path / "phone.yaml") == SpecSheet("phone", 100, 20.5, memory_gb=4)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "examples" / "sheets").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_examples_can_be_read(file: Path) -> None:
    assert SpecSheet.load(file).name == file.stem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peak_gflop: 1\nbandwidth_gbs: 1", r"no figure 'peak_gflop' \(did you mean 'peak_gflops'\?\)"),
        ("peak_gflops: 1", "does not say bandwidth_gbs of the device"),
        ("{}", "does not say peak_gflops and bandwidth_gbs"),
        ("peak_gflops: 1\nbandwidth_gbs: 0", "bandwidth_gbs of the device 'bad' must be a number above 0, not 0"),
        ("peak_gflops: .inf\nbandwidth_gbs: 1", "peak_gflops .* must be a number above 0, not inf"),
        ("peak_gflops: fast\nbandwidth_gbs: 1", "must be a number above 0, not 'fast'"),
        ("peak_gflops: yes\nbandwidth_gbs: 1", "must be a number above 0, not True"),
        ("peak_gflops: 1\nbandwidth_gbs: 1\nlaunch_us: -1", "launch_us .* a number of 0 or more, not -1"),
        ("peak_gflops: 1\nbandwidth_gbs: 1\nweight_bits: 0", "weight_bits .* above 0, not 0"),
        ("peak_gflops: 1\nbandwidth_gbs: 1\nname: other", "no figure 'name'"),
        ("- 1", "must hold figures of a device as keys"),
        ("a: [", "cannot be read"),
    ],
)
def test_wrong_figures_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        SpecSheet.load(tmp_path / "bad.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml cannot be read"):
        SpecSheet.load(tmp_path / "none.yaml")
