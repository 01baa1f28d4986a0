"""Attention and short convolution of language models against transformers, and RAT against brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import Lfm2Config, LlamaConfig, MistralConfig
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv
from transformers.models.llama.modeling_llama import LlamaModel
from transformers.models.mistral.modeling_mistral import MistralModel

from search_spaces.elastic import ElasticLayers
from search_spaces.layers import Layers
from search_spaces.slm.attention import Attention, SlidingWindow
from search_spaces.slm.mixer import Mixer
from search_spaces.slm.rat import Rat
from search_spaces.slm.short_convolution import ShortConvolution

WIDTH, HEADS, KV_HEADS, HEAD_WIDTH, TOKENS = 12, 4, 2, 6, 23


def mixers() -> list[Mixer]:
    torch.manual_seed(0)
    layers, sizes = Layers(), (WIDTH, HEADS, KV_HEADS, HEAD_WIDTH)
    return [
        Attention(layers, *sizes),
        *(SlidingWindow(layers, *sizes, window) for window in (2, 5, 8, TOKENS, 64)),
        Rat(layers, WIDTH, HEADS, HEAD_WIDTH, 4, 7),
        Rat(layers, WIDTH, HEADS, HEAD_WIDTH, 8, 3),
        ShortConvolution(layers, WIDTH, 3),
    ]


@pytest.mark.parametrize("index", range(len(mixers())))
@pytest.mark.parametrize("prompt", [1, 8, 14])
def test_steps_go_on_from_a_prompt(index: int, prompt: int) -> None:
    mixer, x = mixers()[index], torch.randn(2, TOKENS, WIDTH)
    with torch.no_grad():
        output, *state = mixer.prefill(x[:, :prompt])
        outputs = [output]
        for token in range(prompt, TOKENS):
            output, *state = mixer.step(x[:, token : token + 1], *state)
            outputs.append(output)
        torch.testing.assert_close(torch.cat(outputs, dim=1), mixer(x), rtol=1e-4, atol=1e-6)
        _, *whole = mixer.prefill(x)
    torch.testing.assert_close(state, whole, rtol=1e-4, atol=1e-6)
    sizes = {"width": WIDTH, "heads": HEADS, "kv_heads": KV_HEADS, "head_width": HEAD_WIDTH, "kernel": 3}
    own = {name: getattr(mixer, name) for name in ("rows", "chunk") if hasattr(mixer, name)}
    window = {"window": mixer.window.value} if isinstance(mixer, SlidingWindow) else {}
    shapes = mixer.state_shapes({**sizes, **own, **window}, TOKENS)
    assert [tuple(tensor.shape[1:]) for tensor in state] == [shape[1:] for shape in shapes]


def attention_of(model: nn.Module, x: Tensor) -> Tensor:
    """What attention of the first layer of a model of transformers gives for tokens that were embedded as `x`."""
    found: list[Tensor] = []
    layer = model.get_submodule("layers.0")
    layer.get_submodule("input_layernorm").register_forward_hook(lambda *_: x)
    layer.get_submodule("self_attn").register_forward_hook(lambda _, __, output: found.append(output[0]))
    with torch.no_grad():
        model(inputs_embeds=x)
    return found[0]


def copy_weights(mixer: Attention | SlidingWindow, theirs: nn.Module) -> None:
    """Ours has head h of queries read head h % kv_heads of keys, theirs h // (heads / kv_heads)."""
    order = torch.arange(HEADS).view(KV_HEADS, -1).t().flatten()
    rows = (order[:, None] * HEAD_WIDTH + torch.arange(HEAD_WIDTH)).flatten()
    weights = {name: theirs.get_parameter(f"{name}_proj.weight") for name in "qkvo"}
    with torch.no_grad():
        mixer.query.get_parameter("weight").copy_(weights["q"][rows])
        mixer.key.get_parameter("weight").copy_(weights["k"])
        mixer.value.get_parameter("weight").copy_(weights["v"])
        mixer.output.get_parameter("weight").copy_(weights["o"][:, rows])


SIZES = {
    "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_WIDTH,
    "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 10, "attn_implementation": "eager",
}  # fmt: skip


def test_attention_is_that_of_llama() -> None:
    torch.manual_seed(0)
    model = LlamaModel(LlamaConfig(**SIZES)).eval()
    mixer, x = Attention(Layers(), WIDTH, HEADS, KV_HEADS, HEAD_WIDTH), torch.randn(2, TOKENS, WIDTH)
    copy_weights(mixer, model.get_submodule("layers.0.self_attn"))
    expected = attention_of(model, x)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-6)
    assert expected.std() > 1e-4


@pytest.mark.parametrize("window", [3, 8, TOKENS])
def test_a_sliding_window_is_that_of_mistral(window: int) -> None:
    torch.manual_seed(0)
    model = MistralModel(MistralConfig(**SIZES, sliding_window=window)).eval()
    mixer = SlidingWindow(Layers(), WIDTH, HEADS, KV_HEADS, HEAD_WIDTH, window)
    x = torch.randn(2, TOKENS, WIDTH)
    copy_weights(mixer, model.get_submodule("layers.0.self_attn"))
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), attention_of(model, x), rtol=1e-4, atol=1e-6)


def test_a_short_convolution_is_that_of_lfm2() -> None:
    torch.manual_seed(0)
    config = Lfm2Config(hidden_size=WIDTH, num_hidden_layers=1, conv_bias=False, conv_L_cache=3, layer_types=["conv"])
    theirs, mixer = Lfm2ShortConv(config, 0), ShortConvolution(Layers(), WIDTH, 3)
    x = torch.randn(2, TOKENS, WIDTH)
    with torch.no_grad():
        mixer.project.get_parameter("weight").copy_(theirs.in_proj.weight)
        mixer.convolution.weight.copy_(theirs.conv.weight.squeeze(1).t())
        mixer.output.get_parameter("weight").copy_(theirs.out_proj.weight)
        torch.testing.assert_close(mixer(x), theirs(x), rtol=1e-4, atol=1e-6)


def rat_by_loops(mixer: Rat, x: Tensor) -> Tensor:
    """Of one sequence, shape (t, width), token by token and head by head, with complex numbers for rotations."""
    size, chunk = mixer.head_width, mixer.chunk
    names = ("query", "key", "value", "gate", "out_gate")
    query, key, value, gate, out_gate = (x @ mixer.get_submodule(name).get_parameter("weight").t() for name in names)
    frequencies = 10_000.0 ** (-torch.arange(0, size, 2) / size)

    def turned(vector: Tensor, place: int) -> Tensor:
        pairs = torch.complex(vector[: size // 2], vector[size // 2 :])
        pairs = pairs * torch.polar(torch.ones(size // 2), place * frequencies)
        return torch.cat([pairs.real, pairs.imag])

    means, rows = torch.zeros(2, key.shape[1]), []
    outputs = []
    for t in range(len(x)):
        if t % chunk == 0:
            rows.append(means)
            means = torch.zeros(2, key.shape[1])
        g = torch.sigmoid(gate[t])
        means = g * means + (1 - g) * torch.stack([key[t], value[t]])
        seen, here = [*rows[1:], means], len(rows) - 1
        heads = []
        for start in range(0, key.shape[1], size):
            part = slice(start, start + size)
            scores = [turned(query[t, part], here) @ turned(row[0, part], place) for place, row in enumerate(seen)]
            weights = torch.softmax(torch.stack(scores) / size**0.5, dim=0)
            heads.append(sum(weight * row[1, part] for weight, row in zip(weights, seen, strict=True)))
        outputs.append(torch.cat(heads) * torch.sigmoid(out_gate[t]))
    return torch.stack(outputs) @ mixer.output.get_parameter("weight").t()


@pytest.mark.parametrize("chunk", [2, 8])
def test_rat_is_what_loops_give(chunk: int) -> None:
    torch.manual_seed(0)
    mixer, x = Rat(Layers(), WIDTH, HEADS, HEAD_WIDTH, chunk, 12), torch.randn(1, TOKENS, WIDTH)
    with torch.no_grad():
        for name in ("query", "key", "gate", "out_gate"):
            mixer.get_submodule(name).get_parameter("weight").mul_(4)
        torch.testing.assert_close(mixer(x)[0], rat_by_loops(mixer, x[0]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("index", range(len(mixers())))
def test_bfloat16_trains(index: int) -> None:
    mixer, x = mixers()[index], torch.randn(2, TOKENS, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        output = mixer(x)
    torch.testing.assert_close(output.float(), mixer(x), rtol=0.05, atol=0.02)
    output.float().square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in mixer.parameters())


@pytest.mark.parametrize("make", [Layers(), ElasticLayers(())])
@pytest.mark.parametrize(
    ("mixer", "arguments", "message"),
    [
        (Attention, (12, 4, 3, 6), "cannot share 3 heads"),
        (Attention, (12, 4, 2, 5), "heads of 5 features"),
        (SlidingWindow, (12, 4, 2, 6, 1), "2 tokens or more"),
        (Rat, (12, 4, 6, 12, 3), "a power of two"),
        (Rat, (12, 4, 6, 8, 0), "there is a row or more"),
        (ShortConvolution, (12, 1), "kernel of 2 or more"),
    ],
)
def test_impossible_sizes_raise(make: Layers, mixer: type[Mixer], arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixer(make, *arguments)
