"""`python -m experiments.integer_program --data DIR`: what the candidates of an integer program are worth.

Volumes of the front that methods reach with equal numbers of evaluations, those for the scores included, and how far the
bound of the additive score lies from the best accuracy that there is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from experiments.integer_program.benchmarks import Benchmark, every_network, nas_bench_201, synthetic
from experiments.integer_program.methods import METHODS, random, scores_of_replaced
from nas.search.additive import Additive, choice_places, fitted_scores, slot_places
from nas.search.integer_program import IntegerProgram
from nas.search.program_start import ceilings
from search_spaces.space import Codes

#: Quantiles, in the logarithm, of the range of latencies of the front at which the bound is looked at.
LIMITS = (0.25, 0.5, 0.75, 1.0)


#: Made from the directory of the data.
BENCHMARKS: Mapping[str, Callable[[Path], Benchmark]] = {
    "nasbench201": lambda data: nas_bench_201(data / "latency" / "nasbench201.parquet"),
    "synthetic0": lambda data: synthetic(0.0, seed=0),
    "synthetic25": lambda data: synthetic(0.25, seed=0),
    "synthetic50": lambda data: synthetic(0.5, seed=0),
}


def main(argv: list[str]) -> None:
    """Print the tables."""
    arguments = parsed(argv)
    found: dict[str, Any] = {}
    for name in arguments.benchmarks:
        benchmark = BENCHMARKS[name](arguments.data)
        volumes = {str(b): {n: reached(benchmark, n, b, arguments.seeds) for n in METHODS} for b in arguments.budgets}
        found[benchmark.name] = {"volumes": volumes, "bounds": bounds(benchmark, max(arguments.budgets))}
        lines = table(benchmark.name, found[benchmark.name])
        print(lines, file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.json:
        print(json.dumps(found))


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("NASMYTH_DATA"), help="see experiments/README.md")
    parser.add_argument("--benchmarks", nargs="+", default=list(BENCHMARKS), choices=BENCHMARKS)
    parser.add_argument("--budgets", type=int, nargs="+", default=[100, 200], help="evaluations")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object last on standard output")
    arguments = parser.parse_args(argv)
    if arguments.data is None:
        parser.error("name the directory of the data with --data DIR or NASMYTH_DATA")
    return arguments


def reached(benchmark: Benchmark, method: str, budget: int, seeds: int) -> list[float]:
    """Shares of the volume of the front: quartiles over the seeds, and CPU seconds of a run; empty for too small a budget."""
    started, volumes = process_time(), []
    for seed in range(seeds):
        codes = METHODS[method](benchmark, budget, np.random.default_rng([seed, budget]))
        if not len(codes):
            return []
        assert len(np.unique(codes, axis=0)) == len(codes) <= budget
        volumes.append(benchmark.volume(codes))
    return [*np.quantile(volumes, [0.25, 0.5, 0.75]).tolist(), (process_time() - started) / seeds]


def bounds(benchmark: Benchmark, budget: int) -> dict[str, Any]:
    """For scores of several sources: how well they rank, and at each limit bound, best accuracy, and what was evaluated.

    The evaluated networks are `budget` random ones; regressions are of these.
    """
    space, rng = benchmark.space, np.random.default_rng(0)
    drawn = random(benchmark, budget, rng)
    accuracy = benchmark.accuracy(drawn)
    sources = {
        "replaced, largest": scores_of_replaced(benchmark, space.largest()),
        "regression": fitted_scores(space, drawn, accuracy, choice_places(space)),
        "regression with slots": fitted_scores(space, drawn, accuracy, [*choice_places(space), *slot_places(space)]),
    }
    latencies = benchmark.front[:, 1]
    best = latencies[benchmark.front[:, 0].argmax()]
    limits = np.exp(np.quantile(np.log([latencies.min(), best]), LIMITS)).tolist()
    return {name: _bounds(benchmark, scores, limits, drawn) for name, scores in sources.items()}


def _bounds(benchmark: Benchmark, scores: Additive, limits: Sequence[float], evaluated: Codes) -> dict[str, Any]:
    others = every_network(benchmark, 20_000, np.random.default_rng(1))
    truth = benchmark.accuracy(others)
    good = truth >= np.quantile(truth, 0.8)
    program = IntegerProgram(scores, {"latency_ms": benchmark.cost})
    started = process_time()
    rows = ceilings(program, "latency_ms", limits, evaluated, benchmark.accuracy(evaluated))
    return {
        "spearman": float(spearmanr(scores(others), truth).statistic),
        "spearman_best_fifth": float(spearmanr(scores(others)[good], truth[good]).statistic),
        "seconds": (process_time() - started) / len(limits),
        "limits_ms": list(limits),
        "bound": [row.bound for row in rows],
        "best": [benchmark.truth(limit) for limit in limits],
        "score": [row.score for row in rows],
        "evaluated": [row.value for row in rows],
    }


def table(name: str, found: Mapping[str, Any]) -> str:
    """Markdown: volumes of all methods, then bounds."""
    budgets = list(found["volumes"])
    head = [
        _row(["method", *(f"{budget} evaluations" for budget in budgets), "CPU s"]),
        _row(["---"] * (len(budgets) + 2)),
    ]
    lines = [f"\n**{name}**: share of the volume in %, median (quartiles)\n", *head]
    for method in METHODS:
        cells = [found["volumes"][budget][method] for budget in budgets]
        shown = [f"{100 * c[1]:.1f} ({100 * c[0]:.1f}-{100 * c[2]:.1f})" if c else "-" for c in cells]
        lines.append(_row([method, *shown, f"{cells[-1][3]:.2f}" if cells[-1] else "-"]))
    return "\n".join([*lines, "\n" + bound_table(found["bounds"])])


def bound_table(sources: Mapping[str, Any]) -> str:
    """Markdown: the scores of every source."""
    limits = next(iter(sources.values()))["limits_ms"]
    lines = [
        "Bound of the score; best accuracy there is; best one that random search evaluated, in %:\n",
        _row(["scores", "Spearman; of the best fifth", *(f"<= {limit:.3g} ms" for limit in limits), "CPU s"]),
        _row(["---"] * (len(limits) + 3)),
    ]
    for source, one in sources.items():
        parts = zip(one["bound"], one["best"], one["evaluated"], strict=True)
        ranks = f"{one['spearman']:.2f}; {one['spearman_best_fifth']:.2f}"
        lines.append(
            _row(
                [
                    source,
                    ranks,
                    *("; ".join(f"{v:.1f}" if np.isfinite(v) else "-" for v in part) for part in parts),
                    f"{one['seconds']:.2f}",
                ]
            )
        )
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
