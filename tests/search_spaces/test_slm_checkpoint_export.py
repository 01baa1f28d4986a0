"""Subnets written as models of transformers, which are loaded by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from slm_checkpoints import FAMILIES, loaded_by_transformers, logits, model, saved, supernet_of, tokens
from torch import nn

import search_spaces
from search_spaces import Architecture, SearchSpace
from search_spaces.slm.checkpoints import export_checkpoint


def architecture(space: SearchSpace, **values: object) -> Architecture:
    """The largest one with other values, of all layers (`ratio`) or of one (`layer2_ratio`)."""
    found = {name: values.get(name, values.get(name.partition("_")[2], value)) for name, value in space.largest().items}
    return space.architectures(space.codes([Architecture(space.name, tuple(found.items()))]))[0]  # type: ignore[arg-type]


def assert_same(network: nn.Module, directory: Path) -> Any:
    written = loaded_by_transformers(directory)
    torch.testing.assert_close(logits(written, tokens()), logits(network, tokens()), rtol=0, atol=1e-5)
    return written


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_comes_back(family: str, tied: bool, tmp_path: Path) -> None:
    """The same tensors under the same names, also when the heads and hidden units were sorted in between."""
    published = model(family, tie_word_embeddings=tied)
    supernet = supernet_of(saved(published, tmp_path / "original"))
    export_checkpoint(supernet.extract(supernet.space.largest()), tmp_path / "same")
    written = assert_same(published, tmp_path / "same")
    assert type(written) is type(published)
    for name, tensor in published.state_dict().items():
        assert torch.equal(tensor, written.state_dict()[name]), name
    supernet.sort_channels()
    export_checkpoint(supernet.extract(supernet.space.largest()), tmp_path / "sorted")
    assert_same(published, tmp_path / "sorted")


@pytest.mark.parametrize("family", FAMILIES)
def test_smaller_networks(family: str, tmp_path: Path) -> None:
    """Equal layers are written as they are; unequal ones, also without attention, are filled up."""
    supernet = supernet_of(saved(model(family), tmp_path / "original"))
    space = supernet.space
    uniform = supernet.extract(architecture(space, kv_heads=2, ratio=0.75))
    export_checkpoint(uniform, tmp_path / "uniform")
    written = assert_same(uniform, tmp_path / "uniform")
    sizes = written.config
    assert (sizes.num_key_value_heads, sizes.num_attention_heads, sizes.intermediate_size) == (2, 4, 12)
    assert sum(p.numel() for p in written.parameters()) == sum(p.numel() for p in uniform.parameters())
    values = {"layer1_mixer": "skip", "layer2_kv_heads": 3, "layer3_kv_heads": 1, "layer1_ratio": 0.375}
    uneven = supernet.extract(architecture(space, **values))
    export_checkpoint(uneven, tmp_path / "uneven")
    # Llama wants heads that divide the width of 16.
    assert assert_same(uneven, tmp_path / "uneven").config.num_key_value_heads == (4 if family == "Llama" else 3)


def test_networks_whose_queries_share_fewer_heads(tmp_path: Path) -> None:
    supernet = supernet_of(saved(model(), tmp_path / "original"), shared_queries=True, kv_heads=[1, 2, 4])
    values = {"layer1_kv_heads": 2, "layer2_kv_heads": 1, "layer3_mixer": "skip"}
    network = supernet.extract(architecture(supernet.space, **values))
    export_checkpoint(network, tmp_path / "written")
    sizes = assert_same(network, tmp_path / "written").config
    assert (sizes.num_attention_heads, sizes.num_key_value_heads) == (8, 2)


def test_what_the_original_says_is_kept(tmp_path: Path) -> None:
    original = saved(model(eos_token_id=7).bfloat16(), tmp_path / "original")
    (original / "tokenizer.json").write_text("{}")
    supernet = supernet_of(original)
    network = supernet.extract(architecture(supernet.space, kv_heads=2))
    export_checkpoint(network, tmp_path / "written", original)
    written = assert_same(network, tmp_path / "written")
    assert (written.config.max_position_embeddings, written.config.eos_token_id) == (77, 7)
    assert (tmp_path / "written" / "tokenizer.json").read_text() == "{}"
    assert not (tmp_path / "written.partial").exists()
    # What was written can be read again.
    again = supernet_of(tmp_path / "written")
    torch.testing.assert_close(logits(again, tokens()), logits(network, tokens()), rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "written" / "config.json").read_text())["rope_theta"] == 5000.0


class TestBadInput:
    def network(self, **options: object) -> nn.Sequential:
        sizes = {"vocabulary": 9, "widths": (8,), "depths": (2,), "heads": 2, "kv_heads": (2,), "prefill": (4,),
                 "decode": (4,), "ratios": (1,)}  # fmt: skip
        space = search_spaces.get("hybrid-slm", **sizes | {"mixers": ("attention",)} | options)
        return space.build(space.largest())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mixers": ("mamba2",)}, "the mixer of layer 1 is Mamba2"),
            ({"mixers": ("sliding_window",)}, "the mixer of layer 1 is SlidingWindow"),
            ({"mixers": ("skip",)}, "no layer has attention"),
            ({"meta_tokens": (2,)}, "meta tokens"),
            ({"attention_bias": True, "attention_norm": True}, "both a bias and a normalisation"),
        ],
    )
    def test_what_transformers_has_not(self, options: dict[str, object], message: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=message):
            export_checkpoint(self.network(**options), tmp_path / "written")
        assert not (tmp_path / "written").exists()

    def test_a_network_of_another_space(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="hybrid-slm"):
            export_checkpoint(nn.Sequential(nn.Linear(2, 2)), tmp_path / "written")

    def test_a_directory_that_is_not_empty(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for directory in (tmp_path, tmp_path / "file"):
            with pytest.raises(ValueError, match="is there already"):
                export_checkpoint(self.network(), directory)
        (tmp_path / "empty").mkdir()
        export_checkpoint(self.network(), tmp_path / "empty")
        assert (tmp_path / "empty" / "model.safetensors").exists()

    def test_an_original_without_configuration(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"config\.json is missing"):
            export_checkpoint(self.network(), tmp_path / "written", tmp_path)
