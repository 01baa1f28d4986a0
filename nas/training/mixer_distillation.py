"""Mixers that learn, layer by layer, to do what the attention of a pretrained model does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from search_spaces import SearchSpace, Variant
    from search_spaces.supernet import Supernet

TEACHER = "attention"


def distil_mixers(
    supernet: Supernet, batches: Iterable[Tensor], learning_rate: float = 1e-3, seed: int = 0
) -> list[float]:
    """Train the mixers that are not attention to give what the attention of their layer gives, of the same tokens.

    The largest network with attention in all layers is the teacher; its weights stay as they are. In every batch each
    layer draws one of its other mixers, at one of its sizes, which reads what the teacher's layer reads (block-wise local
    distillation, as in Puzzle, Bercovich et al., 2024). All layers learn at once, none waits for another.

    Args:
        supernet: of `hybrid-slm`, with pretrained weights; begin with `search_spaces.slm.checkpoints.copy_attention`.
        batches: numbers of tokens, shape (n, t).
        learning_rate: of AdamW without decay of weights.
        seed: of the drawing.

    Returns:
        For each batch the error, averaged over layers: mean squared, as a share of the mean square of what the attention
        gives.

    Raises:
        ValueError: when no layer chooses between attention and another mixer.
    """
    students = _Students(supernet, seed)
    optimizer = torch.optim.AdamW(students.parameters, lr=learning_rate, weight_decay=0.0)
    training = supernet.training
    supernet.train()
    try:
        return [_step(students, optimizer, tokens) for tokens in batches]
    finally:
        supernet.train(training)
        supernet.activate(supernet.space.largest())


def _step(students: _Students, optimizer: torch.optim.Optimizer, tokens: Tensor) -> float:
    errors = []
    for slot, x, y in students.lessons(tokens):
        # `x` is in what both blocks give, so what they add to it is compared.
        error = (students.drawn(slot)(x) - y).square().mean() / (y - x).square().mean().clamp(min=1e-12)
        error.backward()
        errors.append(float(error.detach()))
    nn.utils.clip_grad_norm_(students.parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return sum(errors) / len(errors)


class _Students:
    """The mixers of a supernet that learn from attention.

    Attributes:
        parameters: theirs.
    """

    def __init__(self, supernet: Supernet, seed: int) -> None:
        self._supernet, self._rng = supernet, np.random.default_rng(seed)
        self._teacher = _with_attention(supernet.space)
        self._variants = {
            slot: [variant for variant in _variants(supernet.space, slot) if variant.spec.module != teacher.spec.module]
            for slot, teacher in self._teacher.items()
            if slot.endswith("_mixer")
        }
        self._variants = {slot: variants for slot, variants in self._variants.items() if variants}
        if not self._variants:
            raise ValueError(f"no layer of the space chooses between {TEACHER} and another mixer")
        modules = [supernet.activate_slot(slot, variant) for slot, found in self._variants.items() for variant in found]
        self.parameters = list({id(p): p for module in modules for p in module.parameters()}.values())

    def lessons(self, tokens: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Slot, and what its attention reads and gives, of all slots in which there is something to be learnt."""
        x = tokens
        for slot, variant in self._teacher.items():
            with torch.no_grad():
                y = self._supernet.activate_slot(slot, variant)(x)
            if slot in self._variants:
                yield slot, x, y
            x = y

    def drawn(self, slot: str) -> nn.Module:
        """One of the mixers of a slot."""
        variants = self._variants[slot]
        return self._supernet.activate_slot(slot, variants[int(self._rng.integers(len(variants)))])


def _with_attention(space: SearchSpace) -> dict[str, Variant]:
    """The variants of the largest network with attention in every layer.

    Raises:
        ValueError: when it is not in the space.
    """
    columns = {choice.name: column for column, choice in enumerate(space.choices)}
    codes = space.codes([space.largest()])
    for choice in space.choices:
        if choice.name.endswith("_mixer") and TEACHER in choice.options:
            codes[0, columns[choice.name]] = choice.index(TEACHER)
            for size in (c for c in space.choices if c.requires is not None and c.requires[0] == choice.name):
                codes[0, columns[size.name]] = len(size.options) - 1
        elif choice.name.endswith("_mixer"):
            raise ValueError(
                f"no {TEACHER} to learn from: {choice.name} is one of {', '.join(map(str, choice.options))}"
            )
    return space.variants(space.architectures(codes)[0])


def _variants(space: SearchSpace, name: str) -> list[Variant]:
    """All that a slot can be in the widest and deepest network."""
    slot = next(slot for slot in space.slots if slot.name == name)
    largest = space.largest().values
    own = [choice for choice in space.choices if choice.name in slot.choices and choice.name.startswith("layer")]
    found: list[dict[str, int | float | str]] = [dict(largest)]
    for choice in own:
        found = [values | {choice.name: option} for values in found for option in choice.options]
    variants = (slot.variant(values, space.phases[0]) for values in found)
    return list(dict.fromkeys(variant for variant in variants if variant is not None))
