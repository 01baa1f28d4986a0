"""An evaluator taken apart into plain values and arrays, which need no common file system, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

import search_spaces
from nas.errors import UsageError
from nas.memory import keep_freed_memory
from nas.search import sent_images, sent_sequences
from nas.search.engines import Evaluate
from nas.search.evaluators import NetworkEvaluator
from nas.search.fidelity import Race
from nas.search.ray_evaluation import RayEvaluation, Recipe
from nas.tasks import ImageClassification, Task
from nas.tasks.language_modelling import LanguageModelling
from search_spaces.supernet import Supernet


@dataclass(frozen=True)
class Sender:
    """How what networks are judged on is sent.

    Attributes:
        parts: of an evaluator, what `judge` needs beside the supernet: plain values and arrays.
        judge: the evaluator again, from a supernet and those parts, whose arrays may be read-only memory that processes
            share.
    """

    parts: Callable[[Any], dict[str, Any]]
    judge: Callable[..., NetworkEvaluator[Any]]


_SENDERS: Mapping[type[Task], Sender] = MappingProxyType(
    {
        ImageClassification: Sender(sent_images.parts, sent_images.judge),
        LanguageModelling: Sender(sent_sequences.parts, sent_sequences.judge),
    }
)


def check_sendable(task: type[Task]) -> None:
    """Refuse tasks whose figures another process would not know how to take.

    Raises:
        UsageError: when it is none of those that come with Nasmyth.
    """
    if not issubclass(task, tuple(_SENDERS)):
        raise UsageError(
            f"engine: ray cannot send {task.__name__} to other machines; set engine to local for this task"
        )


def ray_evaluation(evaluator: NetworkEvaluator[Any], threads: int | None, race: Race | None) -> RayEvaluation:
    """Evaluations on a Ray cluster, each with as many CPUs as threads, by default 1.

    Raises:
        UsageError: as `check_sendable` does.
    """
    cpus = threads or 1
    return RayEvaluation(Recipe(received, parts(evaluator, cpus, race)), cpus)


def parts(evaluator: NetworkEvaluator[Any], threads: int, race: Race | None = None) -> dict[str, Any]:
    """The arguments of `received`.

    Raises:
        UsageError: as `check_sendable` does.
    """
    check_sendable(type(evaluator.task))
    known = next(task for task in _SENDERS if isinstance(evaluator.task, task))
    space = evaluator.supernet.space
    state = {name: tensor.contiguous() for name, tensor in evaluator.supernet.state_dict().items()}
    return {
        "release": version("nasmyth"),
        "space": {"name": space.name, "options": dict(space.options), "fingerprint": space.fingerprint},
        "weights": np.frombuffer(save(state), np.uint8),
        "task": known.__name__,
        "arguments": _SENDERS[known].parts(evaluator),
        "threads": threads,
        "race": race,
    }


def received(
    release: str,
    space: Mapping[str, Any],
    weights: NDArray[np.uint8],
    task: str,
    arguments: Mapping[str, Any],
    threads: int,
    race: Race | None,
) -> Evaluate:
    """What evaluates networks as the evaluator did that was taken apart, in a process of another host.

    Args:
        release: of Nasmyth where it was sent.
        space: name, options and fingerprint.
        weights: safetensors of the supernet.
        task: name of its class.
        arguments: what `Sender.judge` of such a task needs beside the supernet.
        threads: of torch.
        race: how evaluations that are given a bar are raced.

    Raises:
        ValueError: when this process has another release, or does not know the space.
    """
    here = version("nasmyth")
    if here != release:
        raise ValueError(f"there is Nasmyth {here}, not {release}: install the same release on all machines")
    torch.set_num_threads(threads)
    keep_freed_memory()
    judge = next(sender.judge for known, sender in _SENDERS.items() if known.__name__ == task)
    return partial(judge(_supernet(space, weights), **arguments).score, race=race)


def _supernet(space: Mapping[str, Any], weights: NDArray[np.uint8]) -> Supernet:
    known = search_spaces.get(space["name"], **space["options"])
    if known.fingerprint != space["fingerprint"]:
        raise ValueError(f"search space {space['name']!r} is another one here: install the same on all machines")
    supernet = known.build_supernet()
    supernet.load_state_dict(load(weights.tobytes()))
    return supernet
