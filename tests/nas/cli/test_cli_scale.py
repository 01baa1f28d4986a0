"""`nas scale`, from a configuration and from a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cli_commands import TINY, Command

import search_spaces
from nas.config import load
from search_spaces import Architecture


def test_what_is_written_is_the_scaled_network(command: Command, tmp_path: Path) -> None:
    found = command("scale", TINY, "--architecture", largest(tmp_path), "--macs", "4", "--to", "scaled", "--json")
    assert (found.code, found.err) == (0, "")
    section = yaml.safe_load((tmp_path / "scaled" / "space.yaml").read_text())["space"]
    space = search_spaces.get(section["name"], **section["options"])
    architecture = Architecture.from_json((tmp_path / "scaled" / "architecture.json").read_text())
    codes = space.codes([architecture])
    networks = found.data["networks"]
    assert list(networks)[:2] == ["before", "alpha 0.8"]
    assert networks["alpha 0.8"]["macs"] == space.macs(codes)[0]
    assert networks["alpha 0.8"]["parameters"] == space.parameters(codes)[0]
    assert networks["alpha 0.8"]["macs"] / networks["before"]["macs"] == pytest.approx(4, rel=0.1)
    assert found.data["space"] == section
    assert found.data["architecture"] == architecture.values
    assert architecture.to_json() in found.out
    assert yaml.safe_load((tmp_path / "scaled" / "space.yaml").read_text()) == {"space": section}


def largest(folder: Path) -> Path:
    """A file with the largest network of the tiny configuration."""
    config = load(TINY)
    space = search_spaces.get(config.space.name, **config.space.options)
    (folder / "largest.json").write_text(space.largest().to_json())
    return folder / "largest.json"


def test_the_network_of_a_run(finished: Path, command: Command) -> None:
    chosen = finished / "exports" / "chosen" / "architecture.json"
    found = command("scale", finished, "--architecture", chosen, "--macs", "20", "--alpha", "1", "--json")
    assert (found.code, found.err) == (0, "")
    assert found.data["networks"]["alpha 1"]["depth"] == 1
    assert found.data["networks"]["alpha 1"]["macs"] / found.data["networks"]["before"]["macs"] == pytest.approx(
        20, rel=0.1
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--architecture", "EfficientNet-Lite0", "--macs", "2"],
            2,
            "no published network of that name; there are: none",
        ),
        (["--architecture", "largest.json", "--macs", "0"], 2, "the factor of the MACs is above 0, not 0.0"),
        (
            ["--architecture", "largest.json", "--macs", "2", "--alpha", "2"],
            2,
            "alpha, the share of the width, is from 0",
        ),
        (["--architecture", "largest.json", "--macs", "0.001", "--alpha", "1"], 1, "no width gives"),
    ],
)
def test_wrong_use(command: Command, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    largest(tmp_path)
    found = command("scale", TINY, *arguments)
    (line,) = found.err.splitlines()
    assert (found.code, message in line) == (code, True), line
