"""A forward pass in which the variants of a slot are mixed, so that gradients reach their probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from search_spaces import Architecture, SearchSpace, Slot, Variant
from search_spaces.supernet import Supernet

#: Logits of the options of each choice, by its name.
Logits = Mapping[str, Tensor]

#: From the log-probabilities of the variants of a slot, shape (variants,), to the numbers of those that are computed,
#: and their weights.
Weigh = Callable[[Tensor], tuple[list[int], Tensor]]


def mixable(space: SearchSpace) -> frozenset[str]:
    """Names of the choices that one slot alone depends on, such as the kind of its block.

    Others, such as widths and resolution, change the shapes of several slots, so that what they lead to cannot be
    added.
    """
    counts = Counter(name for slot in space.slots for name in slot.choices)
    return frozenset(choice.name for choice in space.choices if counts[choice.name] == 1 and len(choice.options) > 1)


@dataclass(frozen=True)
class Mixture:
    """Runs a supernet with mixed slots.

    Attributes:
        supernet: whose slots are run.
        choices: names of the choices whose options are mixed; the others are fixed by an architecture.
    """

    supernet: Supernet
    choices: frozenset[str]

    def __call__(self, images: Tensor, fixed: Architecture, logits: Logits, weigh: Weigh) -> Tensor:
        """The outputs for a batch of images.

        Args:
            images: shape (n, channels, height, width).
            fixed: decides what is not mixed.
            logits: of the options of all choices that are mixed.
            weigh: the weights of a slot's variants.
        """
        self.supernet.activate(fixed)
        x = self.supernet.resized(images)
        for slot in self.supernet.space.slots:
            x = self._slot(slot, x, fixed, logits, weigh)
        return x

    def _slot(self, slot: Slot, x: Tensor, fixed: Architecture, logits: Logits, weigh: Weigh) -> Tensor:
        variants = self._variants(slot, fixed, logits)
        if len(variants) == 1:
            return self._run(slot, next(iter(variants)), x)
        scores = torch.stack([torch.stack(found).logsumexp(0) for found in variants.values()])
        computed, weights = weigh(scores)
        modules = list(variants)
        outputs = [w * self._run(slot, modules[i], x) for i, w in zip(computed, weights, strict=True)]
        return torch.stack(outputs).sum(0)

    def _variants(self, slot: Slot, fixed: Architecture, logits: Logits) -> dict[Variant | None, list[Tensor]]:
        """Each variant that the mixed choices lead to, with the log-probabilities of all ways to it."""
        space, values = self.supernet.space, fixed.values
        mixed = [choice for choice in space.choices if choice.name in slot.choices and choice.name in self.choices]
        log_p = [logits[choice.name].log_softmax(0) for choice in mixed]
        found: dict[Variant | None, list[Tensor]] = {}
        for picked in product(*(range(len(choice.options)) for choice in mixed)):
            options = {choice.name: choice.options[i] for choice, i in zip(mixed, picked, strict=True)}
            variant = slot.variant({name: options.get(name, values[name]) for name in slot.choices}, space.phases[0])
            terms = [p[i] for p, i in zip(log_p, picked, strict=True)]
            found.setdefault(variant, []).append(torch.stack(terms).sum() if terms else torch.zeros(()))
        return found

    def _run(self, slot: Slot, variant: Variant | None, x: Tensor) -> Tensor:
        if variant is None:
            return x
        output: Tensor = self.supernet.activate_slot(slot.name, variant)(x)
        return output
