"""The expensive part of a trial, whatever the task: take a network from the supernet, make it ready, judge it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from torch import Tensor, nn

from nas.search.fidelity import Bar, Race
from nas.search.finding import Figures, Finding
from nas.tasks import Split
from nas.training.recalibration import recalibrate
from search_spaces import Architecture
from search_spaces.supernet import Supernet

Judge = TypeVar("Judge")


class NetworkEvaluator(ABC, Generic[Judge]):
    """Evaluates networks with the supernet's weights; the same network always gets the same figures.

    Args:
        supernet: trained weights.
        task: what networks are judged on.
    """

    def __init__(self, supernet: Supernet, task: Judge) -> None:
        self.supernet, self.task = supernet, task

    def network(self, architecture: Architecture) -> nn.Sequential:
        """The static network in evaluation mode, recalibrated if it has batch normalisation."""
        network = self.supernet.extract(architecture)
        self.recalibrate(network, architecture)
        return network

    def recalibrate(self, network: nn.Module, architecture: Architecture) -> None:
        """Measure the statistics of batch normalisation, where there is some; the network ends in evaluation mode.

        Args:
            network: static, with any weights.
            architecture: of the network.
        """
        recalibrate(network, self._recalibration_inputs(architecture))

    @abstractmethod
    def _recalibration_inputs(self, architecture: Architecture) -> Iterator[Tensor]:
        """Batches of training inputs, the same ones for all networks; drawn when the first of them is asked for."""

    @abstractmethod
    def figures(
        self, network: nn.Module, architecture: Architecture, split: Split = "validation"
    ) -> Mapping[str, float]:
        """All metrics of the task by name.

        Raises:
            ValueError: when the network is in training mode.
        """

    def score(self, architecture: Architecture, bar: Bar | None = None, race: Race | None = None) -> Finding:
        """The figures of a network on the validation split.

        Args:
            architecture: of the network.
            bar: what it must reach, for evaluators that can end early.
            race: when it is decided whether they do.
        """
        return Figures(self.figures(self.network(architecture), architecture))
