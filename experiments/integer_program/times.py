"""`python -m experiments.integer_program.times`: CPU seconds to find the tables of a cost, and to solve the program."""

from __future__ import annotations

import argparse
import sys
from time import process_time

import numpy as np

import search_spaces
from nas.search.additive import Additive, choice_places, decompose, slot_places
from nas.search.integer_program import IntegerProgram
from search_spaces import SearchSpace

#: Quantiles of the MACs of random networks that are taken for limits.
LIMITS = (0.01, 0.05, 0.2, 0.5, 0.8)


def main(argv: list[str]) -> None:
    """A row of Markdown for each space."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="*", default=search_spaces.names(), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, help="random scores")
    arguments = parser.parse_args(argv)
    print("| space | architectures | tables, s | variables | scores of choices, s | scores of slots, s |")
    print("|---|---|---|---|---|---|")
    for name in arguments.spaces:
        print(row(search_spaces.get(name), arguments.seeds), flush=True)


def row(space: SearchSpace, seeds: int) -> str:
    """MACs limited, random scores maximised: median and maximum of CPU seconds, the making of the variables included."""
    phase, started = space.phases[-1], process_time()
    cost = decompose(space, lambda codes: space.macs(codes, phase))
    tables = process_time() - started
    limits = np.quantile(cost(space.random_codes(5000, np.random.default_rng(0))), LIMITS).tolist()
    cells, variables = [], 0
    for places in (choice_places(space), slot_places(space, phase)):
        seconds = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            score = Additive.over(space, places, [rng.exponential(size=place.count) for place in places])
            for limit in limits:
                started = process_time()
                program = IntegerProgram(score, {"macs": cost})
                solution = program.best({"macs": limit})
                seconds.append(process_time() - started)
                assert solution.bound - solution.score <= 1e-6 * score.span, "the solver ran out of time"
            variables = max(variables, program.size)
        cells.append(f"{np.median(seconds):.2f}, {max(seconds):.2f}")
    return f"| `{space.name}` | {space.size:.1e} | {tables:.1f} | {variables:,} | {cells[0]} | {cells[1]} |"


if __name__ == "__main__":
    main(sys.argv[1:])
