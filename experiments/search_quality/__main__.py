"""`python -m experiments.search_quality`: how many evaluations a sampler needs, on a space of which everything is known.

Each evaluation is a look-up in a table of all architectures. Latency is a cheap objective, known exactly for every
candidate; accuracy is the expensive one. A search is a study with a journal file, as users have it.

figures, medians over the seeds (quartiles beside them); a share that is not reached within the budget counts as infinite
  hypervolume         of the region, by the number of evaluated networks, as a share of that of the true front. The
                      region: accuracies less than 10 points below the best one, latencies below the highest of the
                      table (the reference point); in points of accuracy times ms, nothing is scaled
  evaluations_to_95   networks that were evaluated until the hypervolume was 95 % of that of the true front; `reached`
                      is the number of seeds that got there
  *_whole             the same for the whole front: the reference point is the worst accuracy and the highest latency
  candidates_per_s    networks that the sampler looked at, by second of processor time (Optuna's included)
  cpu_ms_per_trial    processor time of everything but the look-up

example
  python -m experiments.search_quality --table DIR/latency/nasbench201.parquet --accuracy acc_cifar100_test \\
      --latency gold_6226 --sampler nsga2 --seeds 20 --budget 1000 --json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from experiments.search_quality.command import add_plan, run
from experiments.search_quality.task import from_table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code: 0 done, 2 wrong use."""
    arguments = _parser().parse_args(argv)
    joined = [path for paths in arguments.join for path in paths]
    return run(
        lambda: from_table(arguments.space, arguments.table, joined, arguments.accuracy, arguments.latency),
        arguments,
        range(100, arguments.budget + 1, 100),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.search_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--table", required=True, help="*.parquet or *.csv with all architectures of the space")
    add(
        "--join", action="append", nargs="+", default=[], metavar="TABLE",
        help="a table with further columns: rows by arch_idx or ops where both have it, else in the same order",
    )  # fmt: skip
    add("--space", default="nasbench201", help="of the table (default: nasbench201)")
    add("--accuracy", required=True, metavar="COLUMN", help="in percent")
    add("--latency", required=True, metavar="COLUMN", help="in ms")
    add_plan(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
