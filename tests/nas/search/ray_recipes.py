"""What the processes of a Ray cluster evaluate in tests. They write down what they begin in a file that the test reads."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthetic_search import small_space, synthetic_accuracy

from nas.search.fidelity import Bar, Score
from nas.search.ray_evaluation import Recipe
from search_spaces import Architecture

Evaluate = Callable[[Architecture, Bar | None], Score]


@dataclass(frozen=True)
class Begun:
    """A line of the file: one evaluation that was begun, by a process whose priority tells its node."""

    key: str
    pid: int
    niceness: int


def begun(log: Path) -> list[Begun]:
    """All that were begun so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [Begun(key, int(pid), int(niceness)) for key, pid, niceness in map(str.split, lines)]


def on(niceness: int, lines: list[Begun]) -> list[Begun]:
    """Those on the node that adds so much to the priority of its processes."""
    return [line for line in lines if line.niceness == niceness]


def synthetic(
    log: Path,
    seconds: float = 0.0,
    deadly: Mapping[str, int] | None = None,
    bad: Sequence[str] = (),
    stuck: int | None = None,
) -> Recipe:
    """The synthetic accuracy of `small_space`.

    Args:
        log: the file.
        seconds: that an evaluation takes.
        deadly: how often the networks with these keys kill the process.
        bad: keys of networks whose evaluation raises.
        stuck: on the node of this priority only the first evaluation comes to its end, and on the others only some do
            until there is the file `go_on(log)`.
    """
    arguments = {"seconds": seconds, "deadly": dict(deadly or {}), "bad": list(bad), "stuck": stuck}
    return Recipe(load_synthetic, {"log": str(log), **arguments})


def go_on(log: Path) -> Path:
    """The file that frees evaluations."""
    return log.with_name("go on")


def load_synthetic(
    log: str, seconds: float, deadly: Mapping[str, int], bad: Sequence[str], stuck: int | None
) -> Evaluate:
    accuracy, file, here = synthetic_accuracy(small_space()), Path(log), os.nice(0)

    def wait(lines: list[Begun]) -> None:
        if stuck == here and len(on(here, lines)) > 1:
            time.sleep(600)
        while stuck not in (here, None) and len(lines) > 8 and not go_on(file).exists():
            time.sleep(0.01)

    def evaluate(architecture: Architecture, bar: Bar | None) -> Score:
        with file.open("a") as end:
            end.write(f"{architecture.key} {os.getpid()} {here}\n")
        wait(begun(file))
        time.sleep(seconds)
        if sum(line.key == architecture.key for line in begun(file)) <= deadly.get(architecture.key, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if architecture.key in bad:
            raise RuntimeError("out of\nmemory")
        return Score(accuracy(architecture))

    return evaluate


def unloadable(**_: Any) -> Evaluate:
    """What a node without the data does."""
    raise ValueError("there is nothing to evaluate with")


def deadly_to_load(**_: Any) -> Evaluate:
    """What a node without memory does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def drive(folder: Path, address: str, recipe: Recipe, budget: int) -> None:
    """A search in a process of its own."""
    from synthetic_search import make_worker

    from nas.search.ray_evaluation import RayEvaluation

    make_worker(folder, small_space(), engine=RayEvaluation(recipe, address=address), **SEARCH).run(budget)


#: The sampler that proposes in batches.
SEARCH: Mapping[str, Any] = {"sampler": "random", "options": {"batch_size": 4}}
