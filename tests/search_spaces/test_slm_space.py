"""The space of language models: its blocks, its options, and published models in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, Lfm2Config, LlamaConfig, Mamba2Config

import search_spaces
from search_spaces import Architecture, SearchSpace
from search_spaces.elastic import ElasticEmbedding, ElasticLayers, ElasticTiedLinear
from search_spaces.layers import Layers
from search_spaces.phases import PhaseNetwork
from search_spaces.slm.blocks import Embedding, Head
from search_spaces.slm.feed_forward import FeedForward
from search_spaces.slm.mixers import MIXERS
from search_spaces.slm.named import ORDERS
from search_spaces.tied import TiedLinear, tie, untied

SMALL: dict[str, Any] = {
    "vocabulary": 20, "prefill": (9,), "decode": (4,), "widths": (8, 12), "depths": (1, 2), "heads": 2, "kv_heads": (1, 2),
    "mixers": ("skip", "short_convolution", "sliding_window", "attention"), "windows": (4, 6), "ratios": (1, 2),
    "meta_tokens": (0, 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> SearchSpace:
    return search_spaces.get("hybrid-slm", **SMALL)


def test_size_is_the_number_of_networks(small: SearchSpace) -> None:
    layer = 2 * (1 + 1 + 2 * 2 + 2)  # ratios, times skip, convolution, windows of kv heads, attention of kv heads
    assert small.size == 2 * 2 * (layer + layer**2)
    options = {**SMALL, "mixers": ("attention",), "kv_heads": (2,), "meta_tokens": (0,)}
    tiny = search_spaces.get("hybrid-slm", **options)
    networks = tiny.sample(tiny.size, seed=0)
    found = {str(tiny.variants(network)) + str(tiny.variants(network, "decode_4")) for network in networks}
    assert len(found) == tiny.size == 2 * (2 + 4)


# ------------------------------------------------------------------ tied weights


def test_the_table_is_read_twice_and_held_once(small: SearchSpace, tmp_path: Path) -> None:
    largest = small.largest()
    for network in (small.build(largest), small.build_supernet().extract(largest)):
        table, head = network.get_parameter("embedding.table.weight"), network.get_submodule("head.linear")
        assert head.get_buffer("weight") is table
        assert not any(name.startswith("head.linear") for name in network.state_dict())
        assert small.parameters(small.codes([largest]))[0] == sum(p.numel() for p in network.parameters())
        # Gradients come from both ends: a token that is not there still gets one, as an answer.
        network(torch.zeros(1, 3, dtype=torch.int64)).logsumexp(-1).sum().backward()
        assert table.grad is not None
        assert table.grad[5].abs().sum() > 0
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        other = small.build(largest)
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        tokens = torch.randint(20, (2, 5))
        torch.testing.assert_close(other(tokens), network(tokens))


def test_a_supernet_ties_smaller_tables(small: SearchSpace) -> None:
    supernet = small.build_supernet().eval()
    with torch.no_grad():
        for network in (small.smallest(), small.largest()):
            static = supernet.extract(network)
            width = network.values["width"]
            table = supernet.get_parameter("slots.embedding.embedding.table.weight")
            assert torch.equal(static.get_submodule("head.linear").get_buffer("weight"), table[:, :width])
            assert supernet.get_submodule("slots.head.head.linear").get_buffer("weight") is table


def test_a_head_of_its_own_is_counted() -> None:
    both = [search_spaces.get("hybrid-slm", **SMALL, tied=tied) for tied in (True, False)]
    tied, own = (space.parameters(space.codes([space.largest()]))[0] for space in both)
    assert own - tied == 20 * 12
    network = both[1].build(both[1].largest())
    assert "head.linear.weight" in network.state_dict()


def test_what_cannot_be_tied_raises() -> None:
    owner, reader = nn.Embedding(5, 3), TiedLinear(4, 5)
    modules = {"a": [nn.Sequential(owner)], "b": [nn.Sequential(reader)]}
    with pytest.raises(ValueError, match="cannot read a weight of shape"):
        tie(modules, {"b.0": "a.0"})
    with pytest.raises(ValueError, match="only a TiedLinear"):
        tie(modules, {"a.0": "a.0"})
    layers = ElasticLayers(())
    for layer, other in ((layers.embedding(5, 3), nn.Embedding(6, 3)), (layers.tied_linear(3, 5), TiedLinear(4, 5))):
        assert isinstance(layer, ElasticEmbedding | ElasticTiedLinear)
        with pytest.raises(ValueError, match=r"cannot become|is more than"):
            layer.activate(other)


def test_untied_is_for_a_while() -> None:
    owner, reader = nn.Embedding(5, 3), TiedLinear(3, 5)
    reader.tie(owner.weight)
    with untied(reader):
        assert not isinstance(reader.weight, nn.Parameter)
        assert torch.equal(reader.weight, owner.weight)
    assert reader.weight is owner.weight
    assert not list(reader.parameters())


# ------------------------------------------------------------------------ blocks


def test_meta_tokens_come_first_and_have_no_logits() -> None:
    embedding, head = Embedding(Layers(), 20, 8, 3), Head(Layers(), 8, 20, 3, False, 1e-6)
    tokens = torch.randint(20, (2, 5))
    x = embedding(tokens)
    torch.testing.assert_close(x[:, :3], embedding.meta.weight.expand(2, -1, -1))
    torch.testing.assert_close(x[:, 3:], embedding.step(tokens))
    assert head(x).shape == (2, 5, 20)
    torch.testing.assert_close(head.prefill(x), head(x)[:, -1:])
    torch.testing.assert_close(head.step(x[:, -1:]), head(x)[:, -1:])


def test_sorting_keeps_what_the_largest_feed_forward_does() -> None:
    torch.manual_seed(0)
    block = FeedForward(ElasticLayers(()), 8, 12, 2, 1e-6)
    x = torch.randn(2, 3, 8)
    before = block(x)
    moves = block.sort_channels()
    torch.testing.assert_close(block(x), before)
    read = block.output.get_parameter("weight").abs().sum(0)
    assert (read.diff() <= 0).all()
    assert len(moves) == 3


def test_weights_begin_small_and_those_of_sums_smaller() -> None:
    torch.manual_seed(0)
    network = search_spaces.get("hybrid-slm", depths=(8,)).build(search_spaces.get("hybrid-slm", depths=(8,)).largest())
    deviations = {name: float(p.detach().std()) for name, p in network.named_parameters() if p.dim() == 2}
    for name, found in deviations.items():
        wanted = 0.02 / 4 if name.endswith("output.weight") else 0.02  # the root of 16 sums
        assert found == pytest.approx(wanted, rel=0.1), name
    with torch.no_grad():
        logits = network(torch.randint(2048, (2, 64)))
    assert float(nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(2048, (128,)))) < np.log(2048) + 0.3


# ---------------------------------------------------------------- published models


@pytest.mark.parametrize(
    ("preset", "name", "published", "without"),
    [
        ("llama-3.2-1b", "llama", 1_235_814_400, 0),
        ("lfm2-1.2b", "lfm2", 1_170_340_608, 6 * 2 * 64),  # normalisation of queries and keys
        ("mamba2-1.3b", "uniform-mamba2", 1_343_757_312, 0),
    ],
)
def test_published_models_have_the_published_parameters(preset: str, name: str, published: int, without: int) -> None:
    space = search_spaces.get("hybrid-slm", preset=preset)
    with torch.device("meta"):
        network = space.build(space.architecture(name))
    assert sum(parameter.numel() for parameter in network.parameters()) == published - without


CONFIGS = {
    "llama-3.2-1b": lambda: LlamaConfig(vocab_size=128256, intermediate_size=8192, **TRANSFORMER),
    "lfm2-1.2b": lambda: Lfm2Config(
        vocab_size=65536, intermediate_size=8192, block_auto_adjust_ff_dim=False, conv_L_cache=3,
        full_attn_idxs=[layer for layer, kind in enumerate(ORDERS["lfm2"]) if kind == "attention"], **TRANSFORMER,
    ),
    "mamba2-1.3b": lambda: Mamba2Config(
        vocab_size=50288, hidden_size=2048, num_hidden_layers=48, num_heads=64, head_dim=64, state_size=128, n_groups=1,
        tie_word_embeddings=True,
    ),
}  # fmt: skip
TRANSFORMER = {
    "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
    "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "published"),
    [("llama-3.2-1b", 1_235_814_400), ("lfm2-1.2b", 1_170_340_608), ("mamba2-1.3b", 1_343_757_312)],
)
def test_transformers_counts_as_many(preset: str, published: int) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS[preset]())
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def test_orders_are_those_of_their_papers() -> None:
    """That of Nemotron-Flash-3B as its paper writes it: D DeltaNet, M Mamba-2, A attention, a feed-forward after each."""
    space = search_spaces.get("hybrid-slm", preset="billions")
    values = space.architecture("nemotron-flash").values
    letters = {"delta_net": "D", "mamba2": "M", "attention": "A"}
    order = "".join(letters[str(values[f"layer{layer}_mixer"])] for layer in range(1, 19))
    assert order == "DMAM" * 3 + "DM" * 3
    with torch.device("meta"):
        network = space.build(space.architecture("nemotron-flash"))
    assert 2.5e9 < sum(parameter.numel() for parameter in network.parameters()) < 3.5e9


def test_each_mixer_has_a_network_of_its_own() -> None:
    space = search_spaces.get("hybrid-slm")
    uniform = [name for name in space.named if name.startswith("uniform-") or name == "llama"]
    assert len(uniform) == len(MIXERS) - 1
    for name in space.named:
        assert len(set(space.variants(space.architecture(name)))) == 2 + 2 * 8


# --------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "smal"}, "did you mean 'small'"),
        ({"mixers": ("atention",)}, "did you mean 'attention'"),
        ({"mixers": ()}, "at least one mixer"),
        ({"ratios": (0, 1)}, "a layer could be empty"),
        ({"ratios": (-1,)}, "ratios must be 0 or more"),
        ({"meta_tokens": ()}, "meta_tokens must be 0 or more"),
        ({"widths": (10,)}, "widths and heads"),
        ({"kv_heads": (3,)}, "kv_heads and heads"),
        ({"prefill": (), "decode": ()}, "prefill_and_decode must be positive"),
        ({"prefill": (0,)}, "must be positive"),
        ({"heads": 0}, "heads must be positive"),
        ({"widths": ()}, "widths must be positive"),
        ({"vocabulary": 0}, "vocabulary must be positive"),
        ({"prefill": (5, 5)}, "twice"),
    ],
)
def test_impossible_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get("hybrid-slm", **options)


def test_a_generated_text_is_that_of_the_whole(small: SearchSpace) -> None:
    """Phase by phase with the state that the one before left, against all logits at once."""
    torch.manual_seed(0)
    for network in (*small.sample(3, seed=1), small.largest()):
        module, tokens = small.build(network).eval(), torch.randint(20, (2, 12))
        prefill, decode = (PhaseNetwork(module, small.variants(network, phase)) for phase in small.phases)
        with torch.no_grad():
            whole = module(tokens)
            logits, *state = found if isinstance(found := prefill(tokens[:, :7]), tuple) else (found,)
            for place in range(7, 12):
                torch.testing.assert_close(logits[:, 0], whole[:, place - 1], rtol=1e-4, atol=1e-5)
                logits, *state = (
                    found if isinstance(found := decode(tokens[:, place : place + 1], *state), tuple) else (found,)
                )


def test_an_architecture_of_the_space_is_json(small: SearchSpace) -> None:
    assert Architecture.from_json(small.largest().to_json()) == small.largest()
