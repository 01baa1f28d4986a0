"""Where networks are evaluated: in this process, or in the processes of a Ray cluster."""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from nas.search.fidelity import Bar, Race
from nas.search.finding import Finding
from search_spaces import Architecture
from search_spaces.space import nearest

if TYPE_CHECKING:
    from nas.search.evaluators import NetworkEvaluator

#: Evaluates a network: on everything, or when it is given what the network must reach, as far as it can.
Evaluate = Callable[[Architecture, Bar | None], Finding]

#: What was found of a network, or what was raised in its place.
Outcome = Callable[[], Finding]


class Interrupted(Exception):
    """An evaluation came to no end, and the network is not to blame: it is begun again, and no attempt is counted."""


class EvaluationEngine(ABC):
    """Evaluates networks, one or several at a time."""

    @abstractmethod
    def room(self, left: int) -> bool:
        """Whether an evaluation can begin now.

        Args:
            left: how many are still to be begun, at most; what is made ready for them need not be more.

        Raises:
            ValueError: when there is no place for evaluations at all; the message says what to do.
        """

    @abstractmethod
    def begin(self, number: int, architecture: Architecture, bar: Bar | None = None) -> None:
        """Evaluate a network, for which there is room.

        Args:
            number: names the evaluation.
            architecture: of the network.
            bar: what it must reach, where evaluations are raced.
        """

    @abstractmethod
    def ended(self, seconds: float) -> Sequence[tuple[int, Outcome]]:
        """Evaluations that came to an end, each told once; waits for the first of them, at most for some `seconds`.

        An outcome raises `Interrupted`, or what the evaluation itself raised, or `ChildProcessError` when it ended its
        process.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up all evaluations, and what was made ready for them."""


class LocalEvaluation(EvaluationEngine):
    """Evaluates in this process, one network at a time.

    Args:
        evaluate: one network.
    """

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate
        self._begun: list[tuple[int, Architecture, Bar | None]] = []

    def room(self, left: int) -> bool:
        """Whether none is begun."""
        return not self._begun

    def begin(self, number: int, architecture: Architecture, bar: Bar | None = None) -> None:
        """Keep it until the outcome is asked for."""
        self._begun.append((number, architecture, bar))

    def ended(self, seconds: float) -> Sequence[tuple[int, Outcome]]:
        """The evaluation that was begun; its outcome takes the time."""
        if not self._begun:
            time.sleep(seconds)
        begun, self._begun = self._begun, []
        return [(number, partial(self.evaluate, architecture, bar)) for number, architecture, bar in begun]

    def close(self) -> None:
        """Forget what was begun."""
        self._begun = []


class _Factory(Protocol):
    def __call__(
        self, evaluator: NetworkEvaluator[Any], threads: int | None, race: Race | None
    ) -> EvaluationEngine: ...


def local(evaluator: NetworkEvaluator[Any], threads: int | None, race: Race | None) -> EvaluationEngine:
    """Evaluations in this process, whose threads are set already."""
    return LocalEvaluation(partial(evaluator.score, race=race))


#: Module and function that makes each engine; a module is imported when its engine is asked for.
_ENGINES = {"local": "nas.search.engines:local", "ray": "nas.search.sending:ray_evaluation"}


def names() -> list[str]:
    """The engines that there are."""
    return sorted(_ENGINES)


def make(
    name: str, evaluator: NetworkEvaluator[Any], threads: int | None, race: Race | None = None
) -> EvaluationEngine:
    """The engine `name`.

    Args:
        name: one of `names`.
        evaluator: gives the figures of networks.
        threads: of each evaluation, where the configuration says how many.
        race: how evaluations that are given a bar are raced.

    Raises:
        ValueError: when there is none of that name; the message names the nearest one.
        ModuleNotFoundError: when a package is missing; the message says what to install.
    """
    if name not in _ENGINES:
        raise ValueError(f"there is no engine {name!r}{nearest(name, names())}; there are {', '.join(names())}")
    module, _, function = _ENGINES[name].partition(":")
    factory: _Factory = getattr(importlib.import_module(module), function)
    return factory(evaluator, threads, race)
