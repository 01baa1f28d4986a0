"""The supernet: one set of weights for all architectures of a space."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.copies import copy_structure
from search_spaces.elastic.layer import ElasticLayer, ElasticLayers, copy_active
from search_spaces.pretrained import Loaded, load
from search_spaces.reordering import Reordering
from search_spaces.space import Architecture, SearchSpace, Slot, Variant, nearest
from search_spaces.spec import ModuleSpec, cover
from search_spaces.tied import tie


class Supernet(nn.Module):
    """Holds the weights of all architectures of `space`, and behaves as the one that was activated last.

    It is made from the space's slots: for each class of module that a slot may become there is one elastic module,
    large enough for all of them. Choosing an architecture gives every elastic layer the shape of its counterpart in
    the static network, so that the two cannot differ. A new supernet behaves as the largest architecture.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self.slots = nn.ModuleDict({slot.name: _elastic_slot(space, slot) for slot in space.slots})
        tie({name: modules.values() for name, modules in self.slots.items()}, space.ties)  # type: ignore[operator]
        self._layers: dict[tuple[str, ModuleSpec], list[tuple[ElasticLayer, nn.Module]]] = {}
        self._active: list[nn.Module] = []
        self._input_size: tuple[int, ...] = ()
        self.activate(space.largest())

    def activate(self, architecture: Architecture) -> None:
        """Behave as `architecture` from now on.

        Raises:
            ValueError: when it is not of this space.
        """
        variants = self.space.variants(architecture)
        self._active = [self.activate_slot(name, variant) for name, variant in variants.items()]
        self._input_size = next(iter(variants.values())).input_shapes[0][2:]

    def activate_slot(self, name: str, variant: Variant) -> nn.Module:
        """The module of a slot, which behaves as `variant` until the slot is activated again.

        With it whoever mixes the variants of a slot, as differentiable search does, runs them one after the other.
        """
        if (name, variant.spec) not in self._layers:
            self._layers[name, variant.spec] = self._pairs(name, variant.spec)
        for layer, template in self._layers[name, variant.spec]:
            layer.activate(template)
        return self._elastic(name, variant.spec)

    def _elastic(self, slot: str, spec: ModuleSpec) -> nn.Module:
        return self.get_submodule(f"slots.{slot}.{_class_name(spec)}")

    def _pairs(self, slot: str, spec: ModuleSpec) -> list[tuple[ElasticLayer, nn.Module]]:
        """Every elastic layer of a slot beside its counterpart in the static module.

        The blocks that a shorter `Repeat` does not have, have none.
        """
        elastic = self._elastic(slot, spec)
        static = dict(self.space.skeleton(spec).named_modules())
        layers = [(name, layer) for name, layer in elastic.named_modules() if isinstance(layer, ElasticLayer)]
        return [(layer, static[name]) for name, layer in layers if name in static]

    def forward(self, x: Tensor) -> Tensor:
        """Logits: shape (n, classes) of images of shape (n, channels, height, width), where those of another resolution
        than the active one are resized first; shape (n, t, vocabulary) of tokens of shape (n, t)."""
        x = self.resized(x)
        for module in self._active:
            x = module(x)
        return x

    def resized(self, images: Tensor) -> Tensor:
        """Images at the resolution of the active architecture."""
        return resize(images, self._input_size)

    def extract(self, architecture: Architecture) -> nn.Sequential:
        """The static network of `architecture` with copied weights, in the mode (training or not) of the supernet.

        Nothing in it is elastic. Recalibrate its batch normalisation before it is used. The supernet stays activated
        as this architecture.
        """
        self.activate(architecture)
        network = nn.Sequential()
        for module, (name, variant) in zip(self._active, self.space.variants(architecture).items(), strict=True):
            static = copy_structure(self.space.skeleton(variant.spec))
            copy_active(module, static)
            network.add_module(name, static)
        tie({name: [module] for name, module in network.named_children()}, self.space.ties)
        return network.train(self.training)

    def example_inputs(self, architecture: Architecture, phase: str | None = None) -> dict[str, Tensor]:
        """Random inputs of the network by name, batch 1: normal ones, and any indices where the space takes indices."""
        shapes = self.space.input_shapes(architecture, phase)
        inputs = {name: torch.randn(shape) for name, shape in shapes.items()}
        indices = next(iter(self.space.variants(architecture, phase).values())).indices
        if indices:
            inputs[self.space.input_name] = torch.randint(indices, shapes[self.space.input_name])
        return inputs

    def load_pretrained(self, source: str, path: str | Path, partial: bool = False) -> Loaded:
        """Put weights that already exist into this supernet.

        Args:
            source: whose names the file uses: one of `space.pretrained`.
            path: safetensors (a file, or a directory of transformers), or written by `torch.save` (weights only, no code
                is run).
            partial: whether to load what matches when something does not.

        Returns:
            What was loaded and what was not, by name.

        Raises:
            ValueError: when the source is unknown or the file cannot be read; without `partial` also when anything
                does not match, listing it. The supernet is then as before.
        """
        if source not in self.space.pretrained:
            known = ", ".join(self.space.pretrained) or "none"
            raise ValueError(
                f"space {self.space.name!r} has no source of weights {source!r}"
                f"{nearest(source, self.space.pretrained)}; there are: {known}"
            )
        return load(self, self.space.pretrained[source], path, partial)

    def sort_channels(self) -> list[Reordering]:
        """Order hidden channels by importance, so that smaller expansions keep the best ones.

        To be called after a phase of training the largest network alone; its outputs stay the same (once-for-all).

        Returns:
            What was moved, so that the state of an optimiser can be moved along.
        """
        sorts = (getattr(module, "sort_channels", None) for module in self.slots.modules())
        return [move for sort in sorts if callable(sort) for move in sort()]


def resize(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Images of shape (n, channels, *size); bilinear with antialiasing, untouched when they have that size."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True, align_corners=False)


def _class_name(spec: ModuleSpec) -> str:
    return str(getattr(spec.module, "__name__", "")).lower()


def uses_all_weights(space: SearchSpace, architecture: Architecture) -> bool:
    """Whether `architecture` contains every module of the supernet, so that training it trains a part of each.

    It does not where blocks of another kind have weights of their own.
    """
    used = {(name, _class_name(variant.spec)) for name, variant in space.variants(architecture).items()}
    return used == {(slot.name, kind) for slot in space.slots for kind in _specs(space, slot)}


def _elastic_slot(space: SearchSpace, slot: Slot) -> nn.ModuleDict:
    """One elastic module for each class among the slot's variants."""
    return nn.ModuleDict({name: _elastic_module(found) for name, found in _specs(space, slot).items()})


def _specs(space: SearchSpace, slot: Slot) -> dict[str, list[ModuleSpec]]:
    """The modules that a slot may become, by the name of their class."""
    specs: dict[str, dict[ModuleSpec, None]] = {}
    options = [next(c.options for c in space.choices if c.name == name) for name in slot.choices]
    for values in product(*options):
        variant = slot.variant(dict(zip(slot.choices, values, strict=True)), space.phases[0])
        if variant is not None:
            specs.setdefault(_class_name(variant.spec), {}).setdefault(variant.spec)
    return {name: list(found) for name, found in specs.items()}


def _elastic_module(specs: list[ModuleSpec]) -> nn.Module:
    kernels = {dict(spec.arguments).get("kernel", 0) for spec in specs}
    return cover(specs).build(ElasticLayers(sorted(kernels)))
