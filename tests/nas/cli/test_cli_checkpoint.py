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


def test_other_mixers_and_layers_by_their_losses(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {key: value for key, value in CONFIG.items() if key not in ("model_type", "rope_theta")} | {
        "vocab_size": 270
    }
    transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes)).save_pretrained(tmp_path / "model")
    monkeypatch.setenv("NASMYTH_DATA", str(tmp_path))
    (tmp_path / "text.txt").write_text("the cat sat on a mat and saw " * 400)
    texts = {
        "name": "texts",
        "task": {"kind": "language", "data": "text.txt", "vocabulary": 270, "sequence_length": 16},
    }
    (tmp_path / "texts.yaml").write_text(yaml.safe_dump(texts))
    wanted = ("spaces", "hybrid-slm", "--checkpoint", tmp_path / "model", "--mixer", "retnet", "--depth", 1)
    found = command(*wanted, "--texts", tmp_path / "texts.yaml", "--sequences", 4)
    assert found.code == 0, found.err
    sections = yaml.safe_load(found.out)
    assert sections["space"]["options"]["mixers"] == ["retnet", "attention"]
    assert sections["space"]["options"]["depths"] == [1, 2]
    assert sections["space"]["options"]["kept_layers"][0] in ([1], [2])
    assert sections["training"]["mixer_distillation_share"] == 0.3
    missing = command(*wanted)
    assert missing.code == 2
    assert "--depth needs the texts on which layers are ranked, --texts CONFIG" in missing.err


@pytest.mark.parametrize("option", [("--mixer", "retnet"), ("--depth", "1"), ("--texts", "x.yaml")])
def test_options_of_a_checkpoint_alone(option: tuple[str, str], command: Command) -> None:
    found = command("spaces", "hybrid-slm", *option)
    assert found.code == 2
    assert "go with --checkpoint DIR" in found.err
