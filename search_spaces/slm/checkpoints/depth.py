"""Which layers of a pretrained model to keep when there are to be fewer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from search_spaces.slm.checkpoints.calibration import Batch, largest_of, layer_of, mean_loss
from search_spaces.supernet import Supernet

Layers = tuple[int, ...]


def rank_layers(supernet: Supernet, batches: Iterable[Batch], depths: Sequence[int]) -> list[list[int]]:
    """For each of `depths` the layers with which the largest network is best, for the option `kept_layers` of its space.

    The losses are those without any training of the shortened networks (Fu et al., "AmoebaLLM: Constructing any-shape
    large language models for efficient and instant deployment", NeurIPS 2024, stage 1). About half the square of
    the number of layers networks are evaluated, see `keep_layers`.

    Args:
        supernet: with pretrained weights.
        batches: a few sequences like those that the model is for: tokens and targets of shape (n, t).
        depths: numbers of layers.

    Raises:
        ValueError: when a depth is impossible, or nothing in the batches is judged.
    """
    batches = list(batches)
    with largest_of(supernet) as modules:
        layers = max(layer_of(name) or 0 for name in modules)

        def loss(kept: Layers) -> float:
            running = [module for name, module in modules.items() if layer_of(name) in (None, *kept)]
            return mean_loss(running, batches)

        if not depths or not all(1 <= depth <= layers for depth in depths):
            raise ValueError(f"depths are 1 to {layers}, not {list(depths)}")
        kept = keep_layers(layers, loss, min(depths))
    return [list(kept[depth]) for depth in depths]


def keep_layers(layers: int, loss: Callable[[Layers], float], fewest: int = 1) -> dict[int, Layers]:
    """For every number of layers those to keep, by dynamic programming (AmoebaLLM).

    The best way to leave out m of the first n layers, the later ones being there, is the better of the best way to leave out
    m of the first n - 1, and the best way to leave out m - 1 of them and layer n. That is exact when every
    layer that is left out adds a loss of its own, whatever others are; in general it is a good guess.

    Args:
        layers: of the whole network.
        loss: of the network with these layers only, numbered from 1, rising.
        fewest: layers that are to be kept; fewer are not looked at.

    Returns:
        By the number of layers, from `fewest` to `layers`, the layers.
    """
    every = tuple(range(1, layers + 1))

    def judged(left_out: Layers) -> tuple[float, Layers]:
        return loss(tuple(layer for layer in every if layer not in left_out)), left_out

    best = [judged(())]  # by the number of layers that are left out
    for layer in every:
        longer = [judged((*left_out, layer)) for _, left_out in best[: layers - fewest]]
        best = [best[0], *(min(pair) for pair in zip(best[1:], longer, strict=False)), *longer[len(best) - 1 :]]
    return {layers - len(left_out): tuple(sorted({*every} - {*left_out})) for _, left_out in best}
