"""Mixers that learn, layer by layer, to do what the attention of a pretrained model does."""

from __future__ import annotations

from collections.abc import Iterable
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
    distillation, as in Puzzle, Bercovich et al., 2024). All layers learn at once, none waits for another. In a run,
    `training.mixer_distillation_share` does this in the first steps of the training.

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
    lessons, rng = Lessons(supernet.space), np.random.default_rng(seed)
    parameters = lessons.students(supernet)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    training = supernet.training
    supernet.train()
    errors = []
    try:
        for tokens in batches:
            errors.append(lessons.teach(supernet, tokens, rng))
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
    finally:
        supernet.train(training)
        supernet.activate(supernet.space.largest())
    return errors


class Lessons:
    """What the mixers of a space can learn from its attention.

    Args:
        space: `hybrid-slm`, or one with such layers.

    Raises:
        ValueError: when no layer chooses between attention and another mixer.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._teacher = _with_attention(space)
        found = {
            slot: [variant for variant in _variants(space, slot) if variant.spec.module != teacher.spec.module]
            for slot, teacher in self._teacher.items()
            if slot.endswith("_mixer")
        }
        self._students = {slot: variants for slot, variants in found.items() if variants}
        if not self._students:
            raise ValueError(f"no layer of the space chooses between {TEACHER} and another mixer")

    def students(self, supernet: Supernet) -> list[nn.Parameter]:
        """The parameters of all mixers that learn."""
        modules = [supernet.activate_slot(slot, variant) for slot, found in self._students.items() for variant in found]
        return list({id(p): p for module in modules for p in module.parameters()}.values())

    def teach(self, supernet: Supernet, tokens: Tensor, rng: np.random.Generator) -> float:
        """Add the gradients of one mixer of every layer, drawn with one of its sizes; none reaches the attention.

        Args:
            supernet: of the space.
            tokens: shape (n, t).
            rng: draws the mixers.

        Returns:
            The error, averaged over layers: mean squared, as a share of the mean square of what the attention gives.
        """
        errors, x = [], tokens
        for slot, variant in self._teacher.items():
            with torch.no_grad():
                y = supernet.activate_slot(slot, variant)(x)
            if slot in self._students:
                # `x` is in what both blocks give, so what they add to it is compared.
                found = self._drawn(supernet, slot, rng)(x)
                error = (found - y).square().mean() / (y - x).square().mean().clamp(min=1e-12)
                error.backward()
                errors.append(float(error.detach()))
            x = y
        return sum(errors) / len(errors)

    def _drawn(self, supernet: Supernet, slot: str, rng: np.random.Generator) -> nn.Module:
        variants = self._students[slot]
        return supernet.activate_slot(slot, variants[int(rng.integers(len(variants)))])


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
