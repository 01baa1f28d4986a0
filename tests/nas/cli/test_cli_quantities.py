"""Commands on what is measured beside latency."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from cli_commands import TINY, Command

QUICK = ("calibration.samples=4", "calibration.holdout=3", "calibration.max_seconds=0.5")


def test_calibrate_tells_the_errors_of_all(command: Command, tmp_path: Path) -> None:
    settings = ["search.limits=[load_ms.local <= 1e4]", f"directory={tmp_path / 'run'}", *QUICK]
    found = command("calibrate", TINY, "--json", *(f"--set={text}" for text in settings))
    assert found.code == 0, found.err
    table, _, line = found.out.partition("{")
    told = json.loads("{" + line)
    assert told["quantities"].keys() == {"latency_ms", "load_ms"}
    assert told["quantities"]["load_ms"]["unit"] == "ms"
    assert told["quantities"]["load_ms"]["errors"].keys() == told["errors"].keys()
    assert told["quantities"]["latency_ms"]["errors"] == told["errors"]
    assert "load_ms" in table
    assert "load_ms on local: 4 networks measured, on 3 others" in found.err


def test_a_meter_is_named_when_a_device_is_added(command: Command, tmp_path: Path) -> None:
    found = command("device", "add", "board", "--energy-command", "/opt/meter --port 'a b' $HOME")
    assert found.code == 0, found.err
    device = yaml.safe_load((tmp_path / "home" / "devices" / "board.yaml").read_text())
    assert device["energy_command"] == ["/opt/meter", "--port", "a b", "$HOME"]
    settings = ["devices=[board]", "search.objectives=[accuracy, energy_mj.board]", f"directory={tmp_path / 'run'}"]
    found = command("run", TINY, *(f"--set={text}" for text in settings))
    assert found.code == 2
    assert found.err.count("error: ") == 1
    assert "device 'board' cannot measure energy_mj: the energy_command '/opt/meter' failed" in found.err
