"""What the commands of this experiment have in common."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from experiments.search_quality.benchmark import OTHERS, SHARES, benchmark
from experiments.search_quality.searches import STORAGES, Plan
from experiments.search_quality.task import Task
from nas.errors import UsageError
from nas.memory import keep_freed_memory
from nas.progress import Reporter
from nas.search import samplers


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how to search."""
    add = parser.add_argument
    add("--sampler", required=True, metavar="S", help=", ".join([*samplers.names(), *OTHERS]))
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="of the sampler")
    add("--seeds", type=int, default=20, help="searches, with the seeds 0, 1, ... (default: 20)")
    add("--budget", type=int, default=1000, help="networks that each search evaluates (default: 1000)")
    add(
        "--region", type=float, metavar="POINTS",
        help="tell the sampler a goal: accuracy >= best - POINTS, as a limit (default: none)",
    )  # fmt: skip
    add("--storage", choices=STORAGES, default=STORAGES[0], help=f"of the study (default: {STORAGES[0]})")
    add("--json", action="store_true", help="one JSON object, last on standard output")


def run(make: Callable[[], Task], arguments: argparse.Namespace, evaluations: Sequence[int]) -> int:
    """Run the benchmark and print its figures; the exit code: 0 done, 2 wrong use.

    Args:
        make: gives the task.
        arguments: those of `add_plan`.
        evaluations: after which the hypervolume is stated.
    """
    keep_freed_memory()  # as the searches of users do
    try:
        if arguments.seeds < 1 or arguments.budget < 1:
            raise ValueError("--seeds and --budget are at least 1")
        options = dict(map(_option, arguments.option))
        plan = Plan(arguments.sampler, options, arguments.budget, arguments.region, arguments.storage)
        results = benchmark(make(), plan, arguments.seeds, evaluations, Reporter())
    except (UsageError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(shown(results), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps(results, allow_nan=False))
    return 0


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option {text!r} is not NAME=VALUE")
    return name, yaml.safe_load(value)


def shown(results: Mapping[str, Any]) -> str:
    """A few lines for people."""
    volumes = ", ".join(f"{n}: {share:.3f}" for n, share in results["hypervolume"].items())
    reached = [f"{_spread(results[f'evaluations_to_{share}'])} evaluations to {share} %" for share in SHARES]
    return "\n".join(
        [
            f"{results['sampler']}: median [quartiles] of {results['seeds']} searches",
            f"hypervolume of the region by evaluations: {volumes}",
            "; ".join(reached),
            f"{results['cpu_ms_per_trial']:.1f} ms of processor time by trial, "
            f"{results['candidates_per_s']:,.0f} candidates/s",
        ]
    )


def _spread(found: Mapping[str, float | None]) -> str:
    median, low, high = ("-" if found[name] is None else f"{found[name]:.0f}" for name in ("median", "q25", "q75"))
    return f"{median} [{low}, {high}]"
