"""Several searches of one task, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from experiments.search_quality import by_pymoo
from experiments.search_quality.figures import at, evaluations_to, growth, spread
from experiments.search_quality.searches import Plan, Trace, search
from experiments.search_quality.task import Task
from nas.progress import Advance, Reporter

#: Searches with something that is no sampler of the product.
OTHERS: Mapping[str, Callable[[Task, Plan, int, Advance | None], Trace]] = {"pymoo-nsga2": by_pymoo.search}

#: Shares of the hypervolume, in percent, to which evaluations are counted.
SHARES = (95, 99)


def benchmark(task: Task, plan: Plan, seeds: int, evaluations: Sequence[int], reporter: Reporter) -> dict[str, Any]:
    """Search with the seeds 0, 1, ..., one after another; none of them depends on the others.

    Args:
        task: what is searched.
        plan: how.
        seeds: how many.
        evaluations: after which the hypervolume is stated; those beyond the budget are left out.
        reporter: shows how far it is.

    Raises:
        UsageError: when there is no such sampler, or an option is wrong.
    """
    method = OTHERS.get(plan.sampler, search)
    with reporter.progress(f"{plan.sampler}, {seeds} searches") as advance:
        traces = [method(task, plan, seed, partial(_add, advance, seed, seeds)) for seed in range(seeds)]
    shown = [n for n in evaluations if n <= plan.budget]
    return {"sampler": plan.sampler, "seeds": seeds, "budget": plan.budget, **figures(task, traces, shown)}


def _add(advance: Advance, before: int, seeds: int, done: int, budget: int, text: str = "") -> None:
    """Progress of one search as that of all."""
    advance(before * budget + done, seeds * budget)


def figures(task: Task, traces: Sequence[Trace], evaluations: Sequence[int]) -> dict[str, Any]:
    """Of several searches: medians and quartiles over them; a share that was never reached counts as infinite.

    Those of the region have no suffix, those of the whole front `_whole`.
    """
    found: dict[str, Any] = {}
    for part, reference in task.references.items():
        suffix = "" if part == "region" else f"_{part}"
        shares = [growth(trace.values, task.front, reference) for trace in traces]
        table = at(shares, evaluations)
        found[f"hypervolume{suffix}"] = {n: median for n, (_, median, _) in table.items()}
        found[f"hypervolume{suffix}_quartiles"] = {n: [low, high] for n, (low, _, high) in table.items()}
        for share in SHARES:
            found[f"evaluations_to_{share}{suffix}"] = spread([evaluations_to(run, share / 100) for run in shares])
    cpu_s = sum(trace.cpu_s for trace in traces)
    found["candidates_per_s"] = sum(trace.candidates for trace in traces) / cpu_s
    found["cpu_ms_per_trial"] = 1000 * cpu_s / sum(len(trace.values) for trace in traces)
    return found
