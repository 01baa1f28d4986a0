"""A language model that trains in a second, and sequences for it: for tests of everything that runs language models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.tasks import Scores, Split, Task, TaskMetric
from nas.tasks.task import Batches
from search_spaces.layers import Layers
from search_spaces.space import Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec
from search_spaces.workload import Shape

#: Name of the space in configurations.
NAME = "nas.testing.toy_language:toy_space"

#: Sizes of the space and of its data.
VOCABULARY, TOKENS, CONTEXT, KEY = 12, 16, 48, 8

Values = Mapping[str, Value]


class Embedding(nn.Module):
    """The vectors of tokens and of their places, so that a token can find the one half a sequence before it."""

    def __init__(self, layers: Layers, width: int) -> None:
        super().__init__()
        self.table = layers.parameter(VOCABULARY, width)
        nn.init.normal_(self.table.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.table())


def hidden_future(tokens: int) -> Tensor:
    """What is added to the scores of a token and those after it, shape (1, tokens, tokens)."""
    return torch.full((tokens, tokens), -1e4).triu(1)[None]


class Attention(nn.Module):
    """One head of attention in a residual block: `prefill` leaves keys and values, to which `step` adds one more."""

    def __init__(self, layers: Layers, width: int) -> None:
        super().__init__()
        self.norm = layers.layer_norm(width)
        self.query, self.key, self.value = (layers.linear(width, KEY) for _ in range(3))
        self.out = layers.linear(KEY, width)
        self.future = layers.constant(hidden_future, TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        return self.prefill(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed = self.norm(x)
        keys, values = self.key(normed), self.value(normed)
        scores = self.query(normed) @ keys.transpose(1, 2) + self.future()
        return x + self.out(scores.softmax(-1) @ values), keys, values

    def step(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed = self.norm(x)
        keys, values = torch.cat([keys, self.key(normed)], 1), torch.cat([values, self.value(normed)], 1)
        scores = self.query(normed) @ keys.transpose(1, 2)
        return x + self.out(scores.softmax(-1) @ values), keys, values


class FeedForward(nn.Module):
    """A residual block of each token alone."""

    def __init__(self, layers: Layers, width: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.act = layers.layer_norm(width), nn.GELU()
        self.inner, self.outer = layers.linear(width, hidden), layers.linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.outer(self.act(self.inner(self.norm(x))))
        return y


class Head(nn.Module):
    """Logits of tokens."""

    def __init__(self, layers: Layers, width: int) -> None:
        super().__init__()
        self.norm, self.logits = layers.layer_norm(width), layers.linear(width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.logits(self.norm(x))
        return y


def toy_space(*, vocabulary: int = VOCABULARY, widths: Sequence[int] = (16, 24, 32), layers: int = 2) -> SearchSpace:
    """Layers of attention, which may be left out, and feed-forward blocks; a prompt and the next token are its phases.

    Args:
        vocabulary: number of tokens, `VOCABULARY`.
        widths: of the tokens.
        layers: how many.
    """
    options = {"vocabulary": vocabulary, "widths": list(widths), "layers": layers}
    choices = [Choice("width", tuple(widths))]
    slots = [Slot("embedding", ("width",), partial(_alike, Embedding, (), VOCABULARY))]
    for number in range(1, layers + 1):
        name = f"layer{number}"
        choices += [Choice(f"{name}_mixer", ("skip", "attention"), ordered=False), Choice(f"{name}_ratio", (1, 2, 4))]
        slots.append(Slot(f"{name}_mixer", ("width", f"{name}_mixer"), partial(_mixer, f"{name}_mixer")))
        slots.append(Slot(f"{name}_ffn", ("width", f"{name}_ratio"), partial(_feed_forward, f"{name}_ratio")))
    slots.append(Slot("head", ("width",), partial(_alike, Head, ("width",), 0)))
    phases = (f"prefill_{TOKENS}", f"decode_{CONTEXT}")
    return SearchSpace(NAME, tuple(choices), tuple(slots), options, phases, "tokens")


def _tokens(phase: str) -> int:
    """How many a phase reads at once."""
    return TOKENS if phase.startswith("prefill") else 1


def _alike(module: type[nn.Module], more: Sequence[str], indices: int, values: Values, phase: str) -> Variant:
    """A module that is the same in all phases."""
    width = int(values["width"])
    shape: Shape = (1, _tokens(phase), *(int(values[name]) for name in more))
    return Variant(ModuleSpec.of(module, width=width), (shape,), indices=indices)


def _mixer(kind: str, values: Values, phase: str) -> Variant | None:
    if values[kind] == "skip":
        return None
    width = int(values["width"])
    spec, shape = ModuleSpec.of(Attention, width=width), (1, _tokens(phase), width)
    if phase.startswith("prefill"):
        return Variant(spec, (shape,), state_outputs=2, method="prefill")
    cache = (1, CONTEXT, KEY)
    return Variant(spec, (shape, cache, cache), state_inputs=2, state_outputs=2, method="step")


def _feed_forward(ratio: str, values: Values, phase: str) -> Variant:
    width = int(values["width"])
    spec = ModuleSpec.of(FeedForward, width=width, hidden=width * int(values[ratio]))
    return Variant(spec, ((1, _tokens(phase), width),))


class ToyLanguage(Task):
    """Sequences in which each token is followed by one of two, which of them the token before decides.

    `bits_per_byte` is taken on all tokens, `recall` (the share that is guessed) on those whose follower is certain.

    Args:
        sequences: for training; there are half as many for validation, and for the final test.
        seed: of the sequences.
    """

    metrics = (TaskMetric("bits_per_byte", "minimize"), TaskMetric("recall", "maximize"))

    def __init__(self, sequences: int = 256, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._splits = {
            split: _sequences(number, generator)
            for split, number in (("train", sequences), ("validation", sequences // 2), ("test", sequences // 2))
        }

    @property
    def fingerprint(self) -> str:
        return f"toy{sum(int(tokens.sum()) for tokens in self._splits.values())}"

    @property
    def space_options(self) -> Mapping[str, int]:
        return {"vocabulary": VOCABULARY}

    def steps_per_epoch(self, batch_size: int) -> int:
        return len(self._splits["train"]) // batch_size

    def train_batches(self, batch_size: int, generator: torch.Generator) -> Batches:
        order = torch.randperm(len(self._splits["train"]), generator=generator)
        for rows in torch.split(order, batch_size)[: self.steps_per_epoch(batch_size)]:
            yield _with_targets(self._splits["train"][rows])

    def batches(self, split: Split, batch_size: int, limit: int | None = None, shuffled: bool = False) -> Batches:
        yield from map(_with_targets, torch.split(self._splits[split][:limit], batch_size))

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        return self.batches("train", batch_size, images)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1).float(), target.flatten())

    def evaluation_batches(self, metric: str, split: Split, batch_size: int, shuffled: bool = False) -> Batches:
        self.check_metric(metric)
        return self.batches(split, batch_size)

    def evaluation_size(self, metric: str, split: Split) -> int:
        self.check_metric(metric)
        return len(self._splits[split])

    def score(self, metric: str, logits: Tensor, target: Tensor) -> Scores:
        self.check_metric(metric)
        judged = (target >= 0) if metric == "bits_per_byte" else (target >= 0) & (target % 2 == 0)
        if metric == "recall":
            totals = (logits.argmax(-1) == target) & judged
            return Scores(totals.double().sum(1), judged.double().sum(1))
        nats = F.cross_entropy(logits.transpose(1, 2), target.clamp(min=0), reduction="none").double() * judged
        return Scores(nats.sum(1) / math.log(2), judged.double().sum(1))


def _sequences(number: int, generator: torch.Generator) -> Tensor:
    """Tokens, shape (number, TOKENS + 1): each is that before it plus 1, or plus the one before that."""
    found = [torch.randint(VOCABULARY, (number,), generator=generator) for _ in range(2)]
    for _ in range(TOKENS - 1):
        sums = torch.randint(2, (number,), generator=generator) * (found[-2] - 1)
        found.append((found[-1] + 1 + sums) % VOCABULARY)
    return torch.stack(found, 1)


def _with_targets(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and what follows each of them, which is not judged for the first."""
    target = tokens[:, 1:].clone()
    target[:, 0] = -100
    return tokens[:, :-1], target
