"""Uniform single path (Guo et al., ECCV 2020): the plainest way to train a supernet."""

from __future__ import annotations

from torch import Tensor

from nas.training.paths import HomogeneousPaths
from nas.training.strategy import Step, Strategy
from search_spaces.supernet import Supernet


class SinglePath(Strategy[Supernet]):
    """Each step trains sampled networks on the labels; no network teaches another.

    Args:
        random_paths: how many networks each step trains.
        homogeneous_share: of the networks whose layers are alike, see `HomogeneousPaths`.

    Raises:
        ValueError: when there would be none, or the share is none.
    """

    def __init__(self, random_paths: int = 1, homogeneous_share: float = 0.0) -> None:
        if random_paths < 1:
            raise ValueError(f"random_paths is {random_paths}, give 1 or more")
        self.random_paths = random_paths
        self.sampler = HomogeneousPaths(homogeneous_share)

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        losses = {}
        codes = self.sampler.sample(network.space, self.random_paths, step.rng)
        for i, path in enumerate(network.space.architectures(codes)):
            network.activate(path)
            loss = step.loss(network(inputs), target)
            loss.backward()
            losses[f"random{i + 1}"] = loss.item()
        return losses
