"""Language models of transformers as supernets: transformers itself is the oracle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from slm_checkpoints import FAMILIES, loaded_by_transformers, logits, model, saved, supernet_of, tokens

import search_spaces
from search_spaces.phases import PhaseNetwork
from search_spaces.slm.checkpoints import CheckpointConfig, checkpoint_options, export_checkpoint
from search_spaces.slm.checkpoints.options import _ratio


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_network_is_the_model(family: str, tied: bool, tmp_path: Path) -> None:
    published = model(family, tie_word_embeddings=tied)
    supernet = supernet_of(saved(published, tmp_path, max_shard_size="2KB" if tied else "1GB"))
    assert (tmp_path / "model.safetensors.index.json").exists() == tied
    expected = logits(published, tokens())
    torch.testing.assert_close(logits(supernet, tokens()), expected, rtol=0, atol=1e-5)
    network = supernet.extract(supernet.space.largest())
    torch.testing.assert_close(logits(network, tokens()), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.2


def test_the_slower_rotation_of_llama_3(tmp_path: Path) -> None:
    """Of three pairs one keeps its pace, one is slowed down to a third, and one in between; also in a window."""
    rope = {"rope_type": "llama3", "rope_theta": 900.0, "factor": 3.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 20}  # fmt: skip
    published = model(rope_parameters=rope, head_dim=6, num_attention_heads=4, num_key_value_heads=2)
    mixers = ["sliding_window", "attention"]
    supernet = supernet_of(saved(published, tmp_path), mixers=mixers, windows=[16])
    space, largest = supernet.space, supernet.space.largest()
    assert space.options["rotary_stretch"] == [3.0, 1.0, 4.0, 20.0]
    expected = logits(published, tokens())
    for mixer in mixers:
        values = {name: mixer if name.endswith("mixer") else value for name, value in largest.items}
        network = supernet.extract(type(largest)(largest.space, tuple(values.items())))
        torch.testing.assert_close(logits(network, tokens()), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(
        logits(model(head_dim=6, num_attention_heads=4, num_key_value_heads=2), tokens()), expected, atol=1e-3
    )
    export_checkpoint(supernet.extract(largest), tmp_path / "written", tmp_path)
    written = loaded_by_transformers(tmp_path / "written")
    torch.testing.assert_close(logits(written, tokens()), expected, rtol=0, atol=1e-5)
    assert written.config.rope_parameters == rope


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_and_the_token_after_it(family: str, tmp_path: Path) -> None:
    published = model(family)
    supernet = supernet_of(saved(published, tmp_path))
    space, largest = supernet.space, supernet.space.largest()
    network = supernet.extract(largest)
    expected = logits(published, tokens())
    with torch.no_grad():
        last, *states = PhaseNetwork(network, space.variants(largest, "prefill_6"))(tokens()[:, :-1])
        following, *_ = PhaseNetwork(network, space.variants(largest, "decode_5"))(tokens()[:, -1:], *states)
    torch.testing.assert_close(last[:, 0], expected[:, -2], rtol=0, atol=1e-5)
    torch.testing.assert_close(following[:, 0], expected[:, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_sorting_by_importance_leaves_the_largest_network_as_it_is(family: str, tmp_path: Path) -> None:
    published = model(family)
    supernet = supernet_of(saved(published, tmp_path))
    before = supernet.state_dict()["slots.layer1_mixer.attentionblock.mixer.query.weight"].clone()
    moved = supernet.sort_channels()
    torch.testing.assert_close(logits(supernet, tokens()), logits(published, tokens()), rtol=0, atol=1e-5)
    query = supernet.get_submodule("slots.layer1_mixer.attentionblock.mixer.query")
    (move,) = (move for move in moved if move.tensor is query.get_parameter("weight"))
    move.apply(before)
    assert torch.equal(before, query.get_parameter("weight"))


def test_fewer_heads_are_those_that_are_read_most_with_their_queries(tmp_path: Path) -> None:
    """The model without the other heads, made by hand."""
    published = model("Qwen2")
    supernet = supernet_of(saved(published, tmp_path), mixers=["attention"], kv_heads=[3, 4])
    supernet.sort_channels()
    smaller = supernet.space.largest()
    values = {name: 3 if name.endswith("kv_heads") else value for name, value in smaller.items}
    network = supernet.extract(type(smaller)(smaller.space, tuple(values.items())))
    with torch.no_grad():
        for layer in published.get_submodule("model.layers"):
            output = layer.get_parameter("self_attn.o_proj.weight")
            weakest = int(output.abs().sum(0).view(4, -1).sum(1).argmin())
            output.view(16, 4, -1)[:, weakest] = 0
    torch.testing.assert_close(logits(network, tokens()), logits(published, tokens()), rtol=0, atol=1e-5)


def test_kept_layers_are_those_of_the_model(tmp_path: Path) -> None:
    published = model()
    options = checkpoint_options(saved(published, tmp_path), kept_layers=[[1, 3], [2]])
    assert (options["depths"], options["kept_layers"]) == ([1, 2, 3], [[2], [1, 3], [1, 2, 3]])
    supernet = supernet_of(tmp_path, **options)
    space = supernet.space
    largest = space.largest()
    two = type(largest)(largest.space, tuple((largest.values | {"depth": 2}).items()))
    assert space.variants(two).keys() == {"embedding", "head", *(f"layer{n}_{slot}" for n in (1, 3)
                                                              for slot in ("mixer", "feed_forward"))}  # fmt: skip
    del published.get_submodule("model.layers")[1]
    published.config.num_hidden_layers = 2
    published.get_submodule("model.layers.1.self_attn").layer_idx = 1
    torch.testing.assert_close(logits(supernet.extract(two), tokens()), logits(published, tokens()), rtol=0, atol=1e-5)
    assert len({a.key for a in space.sample(40, 0)}) == 40


@pytest.mark.parametrize(
    ("kept", "message"),
    [([[1, 2], [1, 2, 3]], "each of depths"), ([[3], [2, 1], [1, 2, 3]], "rising numbers"), ([[4], [1, 2], [1, 2, 3]], "1 to 3")],
)  # fmt: skip
def test_impossible_kept_layers(kept: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get("hybrid-slm", depths=(1, 2, 3), kept_layers=kept)


def test_an_impossible_stretch() -> None:
    with pytest.raises(ValueError, match="factor, low, high and context"):
        search_spaces.get("hybrid-slm", rotary_stretch=(2.0, 1.0))


def test_windows_begin_with_the_weights_of_attention(tmp_path: Path) -> None:
    """A window that is longer than the text sees all of it."""
    published = model("Qwen3")
    supernet = supernet_of(saved(published, tmp_path), mixers=["sliding_window", "attention"], windows=[16])
    largest = supernet.space.largest()
    values = {name: "sliding_window" if name.endswith("mixer") else value for name, value in largest.items}
    network = supernet.extract(type(largest)(largest.space, tuple(values.items())))
    torch.testing.assert_close(logits(network, tokens()), logits(published, tokens()), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("hidden", "width"), [(8192, 2048), (4864, 896), (3072, 1024), (5632, 2048), (1536, 576)])
def test_hidden_units_are_exact(hidden: int, width: int) -> None:
    """Of Llama-3.2-1B, Qwen2.5-0.5B, Qwen3-0.6B, TinyLlama-1.1B and SmolLM2-135M."""
    for units in (hidden, hidden * 3 // 4, hidden // 2, hidden // 4, hidden - 1):
        assert round(_ratio(units, width) * width) == units


class TestBadInput:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        return saved(model(), tmp_path)

    def changed(self, directory: Path, **values: object) -> Path:
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))
        return directory

    def test_no_configuration(self, directory: Path) -> None:
        supernet = supernet_of(directory)
        (directory / "config.json").unlink()
        with pytest.raises(ValueError, match=r"config\.json is missing"):
            checkpoint_options(directory)
        with pytest.raises(ValueError, match=r"config\.json is missing"):
            supernet.load_pretrained("transformers", directory)

    def test_a_configuration_that_is_no_json(self, directory: Path) -> None:
        (directory / "config.json").write_text("[1")
        with pytest.raises(ValueError, match=r"config\.json"):
            checkpoint_options(directory)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"model_type": "gpt2"}, "'gpt2' is none.*: llama, qwen2, qwen3"),
            ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
            ({"attention_bias": True}, "attention_bias = True"),
            ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn'"),
            ({"rope_parameters": {"rope_type": "llama3"}}, "no value for 'factor'"),
            ({"num_attention_heads": None}, r"config\.json"),
        ],
    )
    def test_what_cannot_be_represented(self, directory: Path, values: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            CheckpointConfig.read(self.changed(directory, **values))

    def test_a_missing_value(self, directory: Path) -> None:
        (directory / "config.json").write_text('{"model_type": "llama"}')
        with pytest.raises(ValueError, match="no value for 'num_attention_heads'"):
            CheckpointConfig.read(directory)

    def test_older_configurations(self, directory: Path) -> None:
        """Before version 5 of transformers."""
        self.changed(directory, rope_parameters=None, rope_theta=400.0, rope_scaling=None, head_dim=None)
        assert CheckpointConfig.read(directory).rotary_base == 400.0
        assert CheckpointConfig.read(directory).head_width == 2
        self.changed(directory, rope_scaling={"type": "linear", "factor": 2.0})
        with pytest.raises(ValueError, match="'linear'"):
            CheckpointConfig.read(directory)

    def test_another_model_than_that_of_the_space(self, directory: Path) -> None:
        supernet = supernet_of(directory)
        self.changed(directory, rope_parameters={"rope_type": "default", "rope_theta": 9.0}, num_key_value_heads=2)
        with pytest.raises(ValueError, match=r"kv_heads 4 of the space, 2 of the model; rotary_base 5000\.0"):
            supernet.load_pretrained("transformers", directory, partial=True)

    def test_tensors_are_listed(self, directory: Path) -> None:
        supernet = supernet_of(directory)
        tensors = load_file(directory / "model.safetensors")
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.2.self_attn.q_proj.weight"] = torch.zeros(30, 16)
        tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(32)
        save_file(tensors, directory / "model.safetensors")
        with pytest.raises(ValueError, match="nothing was loaded") as error:
            supernet.load_pretrained("transformers", directory)
        for part in (
            "1 not in the checkpoint: slots.layer2_feed_forward.feedforward.expand.weight",
            "1 not in the supernet: model.layers.0.self_attn.q_proj.bias",
            "slots.layer3_mixer.attentionblock.mixer.query.weight (32, 16), not (30, 16)",
        ):
            assert part in str(error.value)

    def test_pickles_are_not_read(self, directory: Path) -> None:
        supernet = supernet_of(directory)
        torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
        (directory / "model.safetensors").unlink()
        with pytest.raises(ValueError, match=r"pytorch_model\.bin, are not read"):
            supernet.load_pretrained("transformers", directory)
        with pytest.raises(ValueError, match="give the directory"):
            supernet.load_pretrained("transformers", directory / "pytorch_model.bin")

    @pytest.mark.parametrize(
        ("index", "message"),
        [
            ({"a": "../model.safetensors"}, "no safetensors file in the same directory"),
            ({"a": "other.safetensors"}, "other.safetensors is missing"),
            ({"a": "model.safetensors"}, "lack what .* names: a"),
            (["a"], "no weight_map"),
        ],
    )
    def test_a_wrong_index(self, directory: Path, index: object, message: str) -> None:
        supernet = supernet_of(directory)
        (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        with pytest.raises(ValueError, match=message):
            supernet.load_pretrained("transformers", directory)
