"""The space of HAT: the contract, modules against torch's, sums of a whole sentence, and the table's averages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import search_spaces
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.space_costs import SpaceCostsContract
from search_spaces import Architecture, SearchSpace
from search_spaces.layers import Layers
from search_spaces.space import Value
from search_spaces.tabular import hat_table
from search_spaces.tabular.transformer import CachedSelfAttention, FeedForward, SelfAttention
from search_spaces.workload import chain

SMALL = {
    "vocabulary": 50,
    "source_length": 7,
    "beam": 2,
    "widths": (8, 12),
    "inner": 8,
    "ffn": (8, 16, 32),
    "heads": (1, 2, 4),
    "encoder_layers": 3,
    "decoder_layers": (1, 2),
}


@pytest.fixture(scope="module")
def small() -> SearchSpace:
    return search_spaces.get("hat", **SMALL)


@pytest.fixture(scope="module")
def full() -> SearchSpace:
    return search_spaces.get("hat")


class TestHat(SpaceCostsContract):
    """Three encoder layers, up to two decoder layers."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get("hat", **SMALL)


# --------------------------------------------------------------------------------------------------------- modules


def test_an_encoder_layer_is_that_of_torch() -> None:
    torch.manual_seed(0)
    attention, feed_forward = SelfAttention(Layers(), 8, 4, 8), FeedForward(Layers(), 8, 20)
    layer = nn.TransformerEncoderLayer(8, 4, 20, dropout=0, batch_first=True).eval()
    with torch.no_grad():
        for part, name in enumerate(("query", "key", "value")):
            source = attention.get_submodule(name)
            layer.self_attn.in_proj_weight[8 * part : 8 * part + 8] = source.get_parameter("weight")
            layer.self_attn.in_proj_bias[8 * part : 8 * part + 8] = source.get_parameter("bias")
        layer.self_attn.out_proj.load_state_dict(attention.out.state_dict())
        layer.linear1.load_state_dict(feed_forward.first.state_dict())
        layer.linear2.load_state_dict(feed_forward.second.state_dict())
        x = torch.randn(2, 5, 8)
        torch.testing.assert_close(feed_forward(attention(x)), layer(x))


def test_steps_with_a_cache_give_what_causal_attention_gives() -> None:
    torch.manual_seed(0)
    step = CachedSelfAttention(Layers(), 6, 2, 8).eval()
    x = torch.randn(1, 3, 5, 6)  # three sentences of five tokens
    keys, values = torch.zeros(1, 6, 4, 0), torch.zeros(1, 6, 0, 4)
    found = []
    with torch.no_grad():
        for token in range(5):
            y, keys, values = step(x[:, :, token], keys, values)
            found.append(y)
        query, key, value = (m(x[0]).view(3, 5, 2, 4).transpose(1, 2) for m in (step.query, step.key, step.value))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        expected = step.norm(x[0] + step.out(mixed.transpose(1, 2).reshape(3, 5, 8)))
    torch.testing.assert_close(torch.stack(found, dim=2)[0], expected)


# ----------------------------------------------------------------------------------------------------------- costs


def by_hand(values: Mapping[str, Value], length: int, vocabulary: int) -> tuple[float, float]:
    """MACs of linear layers of the encoder, and of all steps of a sentence without beam, from the paper's figure 3."""
    e, d = int(values["encoder_width"]), int(values["decoder_width"])
    encoder = sum(length * (4 * e * 512 + 2 * e * int(values[f"encoder{i}_ffn"])) for i in range(1, 7))
    decoder = length * d * vocabulary
    for i in range(1, int(values["decoder_layers"]) + 1):
        decoder += length * (4 * d * 512 + 2 * d * 512 + 2 * d * int(values[f"decoder{i}_ffn"]))
        decoder += int(values[f"decoder{i}_ende_layers"]) * length * 2 * e * 512  # keys and values, once
    return encoder, decoder


def test_macs_of_linear_layers_by_hand() -> None:
    space = search_spaces.get("hat", beam=1, source_length=23, vocabulary=6632)
    codes = space.random_codes(20, np.random.default_rng(0))
    expected = np.array([by_hand(a.values, 23, 6632) for a in space.architectures(codes)])
    column = space.feature_names("encoder").index("macs_linear")
    np.testing.assert_array_equal(space.features(codes, "encoder")[:, column], expected[:, 0])
    np.testing.assert_array_equal(space.features(codes, "decoder")[:, column] * 23, expected[:, 1])


def test_macs_of_attention_are_those_of_all_steps() -> None:
    """An odd length: the mean step is one that is run."""
    space = search_spaces.get("hat", beam=3, source_length=29)
    codes = space.random_codes(20, np.random.default_rng(0))
    column = space.feature_names("decoder").index("macs_matmul")
    for architecture, found in zip(
        space.architectures(codes), space.features(codes, "decoder")[:, column], strict=True
    ):
        values = architecture.values
        layers = range(1, int(values["decoder_layers"]) + 1)
        own = sum(step for step in range(1, 30)) * len(layers)
        others = sum(29 * 29 * int(values[f"decoder{i}_ende_layers"]) for i in layers)
        assert found * 29 == 3 * 2 * 512 * (own + others)


def test_macs_of_the_encoder_are_half_of_the_operations_that_torch_counts(small: SearchSpace) -> None:
    for architecture in (small.smallest(), small.largest(), *small.sample(2, seed=0)):
        network = small.build(architecture).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 7, dtype=torch.int64))
        assert small.macs(small.codes([architecture]), "encoder")[0] == counter.get_total_flops() / 2


def test_the_table_of_the_vocabulary_is_held_but_not_read(full: SearchSpace) -> None:
    codes = full.codes([full.smallest()])
    table = 4 * 32_768 * 512
    weight_bytes = full.features(codes, "encoder")[0, full.feature_names("encoder").index("weight_bytes")]
    assert table < full.memory_bytes(codes, "encoder")[0] < table + 2 * weight_bytes
    assert full.parameters(codes, "encoder")[0] > 32_768 * 512
    assert weight_bytes == 4 * (full.parameters(codes, "encoder")[0] - 32_768 * 512 + 2 * 30 * 512)


# ---------------------------------------------------------------------------------------------------------- graphs


def test_state_comes_from_outside_and_leaves_the_network(small: SearchSpace) -> None:
    architecture = small.largest()
    shapes = small.input_shapes(architecture, "decoder")
    assert list(shapes)[:4] == [
        "tokens", "decoder1_attention_state0", "decoder1_attention_state1", "decoder1_cross_attention_state0",
    ]  # fmt: skip
    assert shapes["tokens"] == (1, 2)
    assert shapes["decoder1_attention_state0"] == (1, 2 * 4, 2, 3)
    assert shapes["decoder2_cross_attention_state1"] == (1, 2 * 4, 3 * 7, 2)
    assert shapes["decoder2_cross_attention_state2"] == (1, 2 * 3, 12)
    workload = small.workload(architecture, "decoder")
    assert workload.input_shapes == tuple(shapes.values())
    assert len(workload.inputs) == 1 + 2 * 5
    assert len(workload.outputs) == 1 + 2 * 4
    assert list(small.input_shapes(architecture, "encoder").values()) == [(1, 7)]


@pytest.mark.parametrize("phase", ["encoder", "decoder"])
def test_timing_graphs_give_what_the_modules_give(small: SearchSpace, phase: str) -> None:
    for seed, architecture in enumerate((small.smallest(), small.largest(), *small.sample(2, seed=0))):
        model = timing_graph(small.workload(architecture, phase), seed=seed)
        session = OnnxRuntime().prepare(model)
        rng = np.random.default_rng(seed)
        shapes = list(small.input_shapes(architecture, phase).values())
        tokens, *states = [torch.from_numpy(rng.standard_normal(s, dtype=np.float32)) for s in shapes]
        inputs = [torch.from_numpy(rng.integers(0, 50, tuple(tokens.shape))), *states]
        found = session.run({f"input{i}": tensor.numpy() for i, tensor in enumerate(inputs)})
        expected = outputs_of(small, architecture, phase, model, inputs)
        assert len(found) == len(expected)
        for i, wanted in enumerate(expected):
            np.testing.assert_allclose(found[f"output{i}"], wanted, rtol=1e-4, atol=1e-4)


def outputs_of(
    space: SearchSpace, architecture: Architecture, phase: str, model: bytes, inputs: list[torch.Tensor]
) -> list[torch.Tensor]:
    """Run the slots' modules one by one with the weights of `model`."""
    graph = onnx.load_from_string(model).graph
    factors = {name for node in graph.node if node.op_type == "MatMul" for name in node.input}  # rows are inputs
    # Positions are 0.9, numbers that multiply have no dimensions, lists of shapes are integers.
    floats = [
        torch.tensor(numpy_helper.to_array(tensor).T if tensor.name in factors else numpy_helper.to_array(tensor))
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    ]
    weights = iter([tensor for tensor in floats if tensor.dim() and not tensor.eq(0.9).all()])
    x, *state = inputs
    left: list[torch.Tensor] = []
    with torch.no_grad():
        for variant in space.variants(architecture, phase).values():
            module = variant.spec.build().eval()
            order = [module.get_submodule(name) for name in used(module)]
            for layer in order:
                for parameter in layer.parameters():
                    parameter.copy_(next(weights))
            for buffer in module.buffers():
                buffer.fill_(0.9)
            results = module(x, *state[: variant.state_inputs])
            state = state[variant.state_inputs :]
            x, *new = results if isinstance(results, tuple) else (results,)
            assert len(new) == variant.state_outputs
            left += new
    assert next(weights, None) is None
    return [x, *left]


def used(module: nn.Module) -> list[str]:
    """Names of the layers in the order in which they run."""
    orders = {
        "SelfAttention": ["query", "key", "value", "out", "norm"],
        "CachedSelfAttention": ["query", "key", "value", "out", "norm"],
        "CachedCrossAttention": ["query", "out", "norm", "key", "value"],
    }
    return orders.get(type(module).__name__, [name for name, _ in module.named_children()])


def test_neighbours_that_pass_on_another_number_of_tensors_raise(small: SearchSpace) -> None:
    variants = list(small.variants(small.largest(), "decoder").values())
    parts = [small.variant_workload(variant) for variant in variants]
    with pytest.raises(ValueError, match="takes 3 tensors, the one before it gives 1"):
        chain(parts)


# ----------------------------------------------------------------------------------------------------------- table


def test_averages_of_random_architectures_are_kept(full: SearchSpace) -> None:
    codes = full.random_codes(300, np.random.default_rng(0))
    table = hat_table.columns_of(full, codes)
    rounded = {name: column.astype(np.float32).tolist() for name, column in table.items()}
    found = hat_table.codes_of(full, rounded)
    for name, column in hat_table.columns_of(full, found).items():
        np.testing.assert_allclose(column, table[name], rtol=1e-9, err_msg=name)
    # Sums that do not depend on which layer has which option.
    for phase in full.phases:
        names = full.feature_names(phase)
        same = [names.index(name) for name in ("kernels", "macs_linear", "macs_matmul", "weight_bytes")]
        a, b = full.features(codes, phase), full.features(found, phase)
        np.testing.assert_array_equal(a[:, same], b[:, same])
        np.testing.assert_allclose(a, b, rtol=0.02)


def test_columns_by_hand(full: SearchSpace) -> None:
    values = full.smallest().values | {"decoder_layers": 2, "encoder_width": 640, "encoder3_ffn": 3072}
    values |= {"decoder1_ende_heads": 8, "decoder2_ende_layers": 3, "decoder1_ffn": 1024}
    architecture = Architecture("hat", tuple(values.items()))
    columns = hat_table.columns_of(full, full.codes([architecture]))
    assert {name: column.tolist() for name, column in columns.items()} == {
        "encoder_embed_dim": [640],
        "encoder_layer_num": [6],
        "encoder_ffn_embed_dim_avg": [(5 * 512 + 3072) / 6],
        "encoder_self_attention_heads_avg": [2],
        "decoder_embed_dim": [512],
        "decoder_layer_num": [2],
        "decoder_ffn_embed_dim_avg": [768],
        "decoder_self_attention_heads_avg": [2],
        "decoder_ende_attention_heads_avg": [5],
        "decoder_arbitrary_ende_attn_avg": [2],
    }


def test_no_rows_give_no_codes(full: SearchSpace) -> None:
    assert hat_table.codes_of(full, {name: [] for name in hat_table.COLUMNS}).shape == (0, len(full.choices))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("encoder_embed_dim", 600, "'encoder_width' has no option 600"),
        ("encoder_layer_num", 5, "encoder_layer_num is 5, not 6"),
        ("decoder_layer_num", 7, "'decoder_layers' has no option 7"),
        ("decoder_layer_num", 1.5, "'decoder_layers' has no option 1.5"),
        ("encoder_ffn_embed_dim_avg", 600, "no 6 options of 'encoder1_ffn' have the average 600"),
        ("decoder_ende_attention_heads_avg", 3, "no 1 options of 'decoder1_ende_heads' have the average 3"),
        ("decoder_arbitrary_ende_attn_avg", float("nan"), "average nan of 'decoder_arbitrary_ende_attn_avg'"),
    ],
)
def test_what_is_no_row_of_hat_raises(full: SearchSpace, column: str, value: float, message: str) -> None:
    table = {
        name: found.tolist() * 2 for name, found in hat_table.columns_of(full, full.codes([full.smallest()])).items()
    }
    table[column][1] = value
    with pytest.raises(ValueError, match=f"row 1 is no architecture of the space: .*{message}"):
        hat_table.codes_of(full, table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": (3,)}, "divisible by the numbers of heads"),
        ({"encoder_layers": 2}, "more than the 2 layers of the encoder"),
        ({"source_length": 0}, "source_length must be positive"),
        ({"beam": -1}, "beam must be positive"),
    ],
)
def test_impossible_options_of_hat(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get("hat", **options)
