"""`nas profile --sheet`: of a configuration and of a run, without measuring anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_commands import TINY, Command

from nas.pipeline import existing_stages
from nas.report.gather import gather


def write(folder: Path, text: str = "peak_gflops: 100\nbandwidth_gbs: 10\nmemory_gb: 0.001\n") -> Path:
    (folder / "phone.yaml").write_text(text)
    return folder / "phone.yaml"


def test_phases_of_a_language_model_are_shown(command: Command, tmp_path: Path) -> None:
    (tmp_path / "slm.yaml").write_text("name: slm\nspace: {name: hybrid-slm, options: {depths: [2], prefill: [64]}}\n")
    found = command("profile", "slm.yaml", "--sheet", write(tmp_path), "--json")
    assert (found.code, found.err) == (0, "")
    (sheet,) = found.data["sheets"]
    assert sheet["device"] == {
        "name": "phone", "peak_gflops": 100, "bandwidth_gbs": 10, "launch_us": 0, "weight_bits": 32, "activation_bits": 32,
        "memory_gb": 0.001,
    }  # fmt: skip
    rows = [row for row in sheet["networks"] if row["network"] == "llama"]
    assert [row["phase"] for row in rows] == ["prefill_64", "decode_128", "decode_2048"]
    assert rows[1]["latency_ms"] < rows[2]["latency_ms"]
    assert rows[1]["total_mb"] < rows[2]["total_mb"]
    for text in ("llama", "prefill_64", "phone: 100 GFLOP/s, 10 GB/s", "(too much)", "nothing was measured"):
        assert text in found.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phone.yaml", "slm.yaml"]  # no run, no bank


def test_the_front_of_a_run_is_shown(finished: Path, command: Command, tmp_path: Path) -> None:
    found = command("profile", finished, "--sheet", write(tmp_path), "--sheet", write(tmp_path), "--json")
    assert (found.code, found.err) == (0, "")
    stages = existing_stages(finished)
    front = {f"front {member.number}": member.architecture for member in gather(stages).front}
    assert len(found.data["sheets"]) == 2
    rows = {row["network"]: row for row in found.data["sheets"][0]["networks"]}
    assert list(rows) == ["smallest", "largest", *front]
    parameters = stages.space.parameters(stages.space.codes(list(front.values()))) / 1e6
    assert [rows[name]["parameters_m"] for name in front] == pytest.approx(parameters.tolist())


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        (TINY, "peak_gflops: 1", "phone.yaml does not say bandwidth_gbs of the device"),
        (TINY, "peak_gflops: 1\nbandwidth_gb: 1", "did you mean 'bandwidth_gbs'?"),
        ("nowhere", "peak_gflops: 1\nbandwidth_gbs: 1", "nowhere"),
        (".", "peak_gflops: 1\nbandwidth_gbs: 1", "is not a run"),
    ],
)
def test_wrong_use_is_told(command: Command, tmp_path: Path, source: str | Path, text: str, message: str) -> None:
    found = command("profile", source, "--sheet", write(tmp_path, text))
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1
