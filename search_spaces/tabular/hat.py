"""The space of HAT (Wang et al., ACL 2020): an encoder-decoder transformer for translation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from search_spaces.checks import check_positive
from search_spaces.space import Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec
from search_spaces.tabular.hat_table import DECODER_COLUMNS, ENCODER_COLUMNS
from search_spaces.tabular.transformer import (
    CachedCrossAttention,
    CachedSelfAttention,
    FeedForward,
    SelfAttention,
    TokenEmbedding,
    Vocabulary,
)

PHASES = ("encoder", "decoder")

Values = Mapping[str, Value]


def hat(
    *,
    vocabulary: int = 32_768,
    source_length: int = 30,
    beam: int = 5,
    widths: Sequence[int] = (512, 640),
    inner: int = 512,
    ffn: Sequence[int] = (512, 1024, 2048, 3072),
    heads: Sequence[int] = (2, 4, 8),
    ende_layers: Sequence[int] = (1, 2, 3),
    encoder_layers: int = 6,
    decoder_layers: Sequence[int] = (1, 2, 3, 4, 5, 6),
) -> SearchSpace:
    """Width of encoder and decoder, number of decoder layers; hidden width and heads of each layer.

    The options are those that HAT drew its tables of latencies from; `hat_table` reads such tables. `ende_layers` of a decoder layer is the number of
    encoder layers, counted from the last one, that it attends to (-1, 1, 2 in HAT's files).

    Phase `encoder` is one sentence. Phase `decoder` is the mean step of decoding it: HAT times as many steps as the
    source has tokens, one token of each of `beam` sentences a step, with keys and values of earlier tokens kept. The
    mean step reads half a sentence of them, and makes a share of the keys and values of the encoder's tokens, which in
    truth are all made in the first step. MACs of all steps are therefore those of the mean step times the number of
    steps; kernels and weights of that projection are counted in every step rather than once.

    The space has no supernet: it is for latencies.

    Args:
        vocabulary: number of tokens: about 32,768 (WMT'14 En-De), 44,512 (WMT'14 En-Fr), 6,632 (IWSLT'14 De-En).
        source_length: tokens of a sentence: 30 (WMT) or 23 (IWSLT).
        beam: sentences that are decoded together.
        widths: of the tokens in encoder and decoder.
        inner: width of the keys of all heads together.
        ffn: hidden widths.
        heads: numbers of heads.
        ende_layers: numbers of encoder layers that a decoder layer may attend to.
        encoder_layers: number of encoder layers.
        decoder_layers: numbers of decoder layers.

    Raises:
        ValueError: when a size is impossible, or heads do not divide `inner`.
    """
    options = dict(locals())
    check_positive(**options)
    if any(inner % number for number in heads):
        raise ValueError(f"inner must be divisible by the numbers of heads {list(heads)}, not {inner}")
    if max(ende_layers) > encoder_layers:
        raise ValueError(
            f"ende_layers {list(ende_layers)} ask for more than the {encoder_layers} layers of the encoder"
        )
    layer = {
        "ffn": sorted(ffn),
        "heads": sorted(heads),
        "ende_heads": sorted(heads),
        "ende_layers": sorted(ende_layers),
    }
    choices = [Choice("encoder_width", tuple(sorted(widths)))]
    for number in range(1, encoder_layers + 1):
        choices += [Choice(f"encoder{number}_{part}", tuple(layer[part])) for part in ENCODER_COLUMNS]
    depth = Choice("decoder_layers", tuple(sorted(decoder_layers)))
    choices += [Choice("decoder_width", tuple(sorted(widths))), depth]
    for number in range(1, max(decoder_layers) + 1):
        needed = (depth.name, tuple(option for option in depth.options if int(option) >= number))
        choices += [Choice(f"decoder{number}_{part}", tuple(layer[part]), needed) for part in DECODER_COLUMNS]
    slots = [
        *_encoder_slots(encoder_layers, vocabulary, source_length, inner),
        *_decoder_slots(max(decoder_layers), vocabulary, source_length, inner, beam),
    ]
    return SearchSpace("hat", tuple(choices), tuple(slots), options, PHASES, "tokens")


def _slot(name: str, phase: str, choices: Sequence[str], make: Callable[[Values], Variant | None]) -> Slot:
    return Slot(name, tuple(choices), partial(_in_phase, phase, make))


def _in_phase(own: str, make: Callable[[Values], Variant | None], values: Values, phase: str) -> Variant | None:
    return make(values) if phase == own else None


# -------------------------------------------------------------------------------------------------------- encoder


def _encoder_slots(layers: int, vocabulary: int, length: int, inner: int) -> list[Slot]:
    embed = partial(_embedding, vocabulary, length, length, "encoder_width")
    slots = [_slot("encoder_embedding", "encoder", ["encoder_width"], embed)]
    for number in range(1, layers + 1):
        name = f"encoder{number}"
        attention = partial(_self_attention, f"{name}_heads", length, inner)
        feed_forward = partial(_feed_forward, f"{name}_ffn", "encoder_width", length)
        slots.append(_slot(f"{name}_attention", "encoder", ["encoder_width", f"{name}_heads"], attention))
        slots.append(_slot(f"{name}_feed_forward", "encoder", ["encoder_width", f"{name}_ffn"], feed_forward))
    return slots


def _embedding(vocabulary: int, tokens: int, positions: int, width: str, values: Values) -> Variant:
    spec = ModuleSpec.of(TokenEmbedding, vocabulary=vocabulary, width=int(values[width]), positions=positions)
    return Variant(spec, ((1, tokens),), indices=vocabulary)


def _self_attention(heads: str, length: int, inner: int, values: Values) -> Variant:
    width = int(values["encoder_width"])
    spec = ModuleSpec.of(SelfAttention, width=width, heads=int(values[heads]), inner=inner)
    return Variant(spec, ((1, length, width),))


def _feed_forward(hidden: str, width: str, tokens: int, values: Values) -> Variant:
    spec = ModuleSpec.of(FeedForward, width=int(values[width]), hidden=int(values[hidden]))
    return Variant(spec, ((1, tokens, int(values[width])),))


# -------------------------------------------------------------------------------------------------------- decoder


def _decoder_slots(layers: int, vocabulary: int, length: int, inner: int, beam: int) -> list[Slot]:
    embed = partial(_embedding, vocabulary, beam, 1, "decoder_width")
    slots = [_slot("decoder_embedding", "decoder", ["decoder_width"], embed)]
    for number in range(1, layers + 1):
        name = f"decoder{number}"
        parts: dict[str, tuple[list[str], Callable[[Values], Variant]]] = {
            "attention": ([f"{name}_heads"], partial(_step_attention, f"{name}_heads", length, inner, beam)),
            "cross_attention": (
                ["encoder_width", f"{name}_ende_heads", f"{name}_ende_layers"],
                partial(_step_cross_attention, name, length, inner, beam),
            ),
            "feed_forward": ([f"{name}_ffn"], partial(_feed_forward, f"{name}_ffn", "decoder_width", beam)),
        }
        for part, (choices, make) in parts.items():
            used = ["decoder_layers", "decoder_width", *choices]
            slots.append(_slot(f"{name}_{part}", "decoder", used, partial(_up_to_depth, number, make)))
    slots.append(_slot("decoder_output", "decoder", ["decoder_width"], partial(_output, vocabulary, beam)))
    return slots


def _up_to_depth(number: int, make: Callable[[Values], Variant], values: Values) -> Variant | None:
    return make(values) if number <= int(values["decoder_layers"]) else None


def _step_attention(heads: str, length: int, inner: int, beam: int, values: Values) -> Variant:
    width, number = int(values["decoder_width"]), int(values[heads])
    spec = ModuleSpec.of(CachedSelfAttention, width=width, heads=number, inner=inner)
    # Steps find 0 to length - 1 tokens; with the new one they attend to (length + 1) / 2 on average.
    cache = _cache(beam * number, inner // number, length // 2)
    return Variant(spec, ((1, beam, width), *cache), state_inputs=2, state_outputs=2)


def _step_cross_attention(name: str, length: int, inner: int, beam: int, values: Values) -> Variant:
    width, source = int(values["decoder_width"]), int(values["encoder_width"])
    number, layers = int(values[f"{name}_ende_heads"]), int(values[f"{name}_ende_layers"])
    spec = ModuleSpec.of(CachedCrossAttention, width=width, heads=number, inner=inner, source=source)
    cache = _cache(beam * number, inner // number, layers * length)
    shapes = ((1, beam, width), *cache, (1, beam * layers, source))
    return Variant(spec, shapes, state_inputs=3, state_outputs=2)


def _cache(stacks: int, width: int, tokens: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of keys and of values."""
    return (1, stacks, width, tokens), (1, stacks, tokens, width)


def _output(vocabulary: int, beam: int, values: Values) -> Variant:
    width = int(values["decoder_width"])
    return Variant(ModuleSpec.of(Vocabulary, width=width, vocabulary=vocabulary), ((1, beam, width),))
