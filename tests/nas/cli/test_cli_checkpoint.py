"""A configuration around a language model that exists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cli_commands import Command

from nas.config import PretrainedConfig
from search_spaces.slm.space import hybrid_slm

CONFIG = {
    "model_type": "qwen3", "vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5, "rope_theta": 1000000,
}  # fmt: skip


def test_the_printed_configuration_is_that_of_the_model(tmp_path: Path, command: Command) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    found = command("spaces", "hybrid-slm", "--checkpoint", tmp_path)
    assert found.code == 0
    sections = yaml.safe_load(found.out)
    assert PretrainedConfig(**sections["training"]["pretrained"]).path == str(tmp_path)
    space = hybrid_slm(**sections["space"]["options"])
    parameters = 30 * 16 * 2 + 16 + 2 * (2 * 16 * 32 + 2 * 16 * 16 + 2 * 8 + 3 * 16 * 24 + 2 * 16)
    assert space.parameters(space.codes([space.largest()]))[0] == parameters


@pytest.mark.parametrize("name", [[], ["vit"]])
def test_other_spaces_have_no_such_models(name: list[str], tmp_path: Path, command: Command) -> None:
    found = command("spaces", *name, "--checkpoint", tmp_path)
    assert found.code == 2
    assert "nas spaces hybrid-slm --checkpoint DIR" in found.err


def test_a_directory_without_configuration(tmp_path: Path, command: Command) -> None:
    found = command("spaces", "hybrid-slm", "--checkpoint", tmp_path)
    assert found.code == 2
    assert "config.json is missing" in found.err
