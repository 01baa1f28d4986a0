"""The part of a configuration around a model of transformers: layers that are kept, and other mixers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from slm_checkpoints import model, saved
from torch.nn import functional as F

import search_spaces
from nas.checkpoint_sections import checkpoint_sections, layers_to_keep
from nas.config import RunConfig, parse
from nas.errors import UsageError
from nas.task_kinds import make_task
from nas.tasks.language_modelling import LanguageModelling

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "dogs", "run", "to", "their", "house")
VOCABULARY = 280
LAYERS = 3


@pytest.fixture(scope="module")
def published() -> Any:
    return model(vocab_size=VOCABULARY, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2)


@pytest.fixture(scope="module")
def directory(published: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(published, tmp_path_factory.mktemp("model"))


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("NASMYTH_DATA", str(tmp_path))
    draws = torch.randint(len(WORDS), (3000,), generator=torch.Generator().manual_seed(0)).tolist()
    (tmp_path / "text.txt").write_text(" ".join(WORDS[number] for number in draws))
    task = {"kind": "language", "data": "text.txt", "vocabulary": VOCABULARY, "sequence_length": 16}
    return parse({"name": "texts", "task": task})


def test_the_layer_that_is_missed_least_is_left_out(published: Any, directory: Path, texts: RunConfig) -> None:
    """By the losses of transformers' model without each of its layers."""
    task = make_task(texts.task, texts.seed)
    assert isinstance(task, LanguageModelling)
    batches = list(task.recalibration_batches(8, 16, texts.seed))
    layers, losses = published.model.layers, {}
    for left_out in range(LAYERS):
        published.model.layers = torch.nn.ModuleList(layer for number, layer in enumerate(layers) if number != left_out)
        with torch.no_grad():
            logits = torch.cat([published(tokens, use_cache=False).logits for tokens, _ in batches])
        targets = torch.cat([target for _, target in batches])
        losses[left_out + 1] = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100).item()
    published.model.layers = layers
    worst = min(losses, key=losses.__getitem__)
    kept = layers_to_keep(directory, [2, 3], texts, sequences=8)
    assert kept == [[n for n in range(1, LAYERS + 1) if n != worst], [1, 2, 3]]
    assert checkpoint_sections(directory, kept_layers=kept)["space"]["options"]["kept_layers"] == kept


def test_sections_with_mixers(directory: Path) -> None:
    sections = checkpoint_sections(directory, ["gated_linear_attention", "mamba2"])
    config = parse({"name": "x", **yaml.safe_load(yaml.safe_dump(sections))})
    assert config.training.pretrained is not None
    assert config.training.pretrained.copy_attention
    assert config.training.mixer_distillation_share == 0.3
    space = search_spaces.get(config.space.name, **config.space.options)
    found = {choice.name: choice.options for choice in space.choices}
    assert found["layer1_mixer"] == ("skip", "gated_linear_attention", "mamba2", "attention")
    assert found["layer1_state"] == (4,)  # as wide as a head of the model
    assert "mixer_distillation_share" not in checkpoint_sections(directory)["training"]


def test_wrong_wishes(directory: Path, texts: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no mixer 'mamba' .did you mean 'mamba2'"):
        checkpoint_sections(directory, ["mamba"])
    with pytest.raises(ValueError, match="depths are 1 to 3, not"):
        layers_to_keep(directory, [4], texts, sequences=2)
    with pytest.raises(UsageError, match=r"task\.kind=language, not pictures"):
        layers_to_keep(directory, [2], parse({"name": "pictures"}))
    other = parse({"name": "other", "task": {**texts.task.model_dump(), "vocabulary": 270}})
    with pytest.raises(UsageError, match=r"has 270 tokens, the model 280; set task.tokenizer to .*tokenizer.json"):
        layers_to_keep(directory, [2], other)
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        layers_to_keep(tmp_path, [2], texts)
