"""The first weights of a language model."""

from __future__ import annotations

from math import sqrt

from torch import nn

from search_spaces.elastic.linear import ElasticLinear

#: Standard deviation of the weights, as of GPT-2 (Radford et al., 2019) and most language models since.
DEVIATION = 0.02


def initialise(block: nn.Module, residuals: int) -> None:
    """Draw the weights of all linear layers of a residual block from a normal distribution.

    Those called `output`, whose results are added to the residual stream, get a standard deviation smaller by the root
    of the number of sums, so that the stream does not grow with depth (GPT-2).

    Args:
        block: with linear or elastic linear layers; what else it has stays as it is, and so do biases.
        residuals: how many sums the deepest network has.
    """
    for name, layer in block.named_modules():
        if isinstance(layer, nn.Linear | ElasticLinear):
            last = name.rpartition(".")[2] == "output"
            nn.init.normal_(layer.weight, std=DEVIATION / sqrt(residuals) if last else DEVIATION)
