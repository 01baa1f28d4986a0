"""Weight normalisation: after every step of the optimiser, vectors of weights are projected to length one."""

from __future__ import annotations

from torch import nn

from nas.config import TrainingConfig
from nas.errors import UsageError


class WeightNormalization:
    """Keeps the matrices inside the layers of a language model on spheres (Fu et al., "Nemotron-Flash", NeurIPS 2025).

    Long vectors of weights change their direction less with a step of the same size; without a length, every step
    turns them. Of matrices that read the features of a token each row has length one, of those whose outputs are added
    to them each column. The paper says nothing of embedding and head, which stay as they are, and so do
    normalisations, convolutions, biases and decays.

    In a supernet the largest matrices have that length; those of a narrower network are parts of them and shorter.

    Args:
        network: a supernet of `hybrid-slm`, or one of its static networks; any module whose blocks say by a method
            `unit_norms` what is to be projected.

    Raises:
        ValueError: when no block does.
    """

    def __init__(self, network: nn.Module) -> None:
        asked = (getattr(module, "unit_norms", None) for module in network.modules())
        self._matrices = [matrix for ask in asked if callable(ask) for matrix in ask()]
        if not self._matrices:
            raise ValueError("it is for the layers of language models (space hybrid-slm), this network has none")

    def project(self) -> None:
        """Give every vector its length."""
        for matrix in self._matrices:
            matrix.project()


def weight_normalization(network: nn.Module, config: TrainingConfig) -> WeightNormalization | None:
    """That of a configuration for `network`, if it wants one.

    Raises:
        UsageError: when the network is none for it, or would lose the weights that its training begins with.
    """
    if not config.weight_normalization:
        return None
    if config.pretrained is not None:
        raise UsageError(
            "training.weight_normalization would make another network of the weights of training.pretrained at the first "
            "step; leave one of them out"
        )
    try:
        return WeightNormalization(network)
    except ValueError as error:
        raise UsageError(f"training.weight_normalization: {error}; leave it out") from error
