"""`python -m experiments.few_shot_latency`: how well a method predicts latencies on a device it has ten measurements of.

Each test device in its turn is the unseen one. A method is given the latencies of the training devices and some
measurements of the unseen device, the samples; it then predicts the queries, and is compared with what they took. Every
measurement of the unseen device that a method sees is a sample, and nothing else of that device reaches it.

protocols
  help  HELP's (Lee et al., NeurIPS 2021). Pool and queries are rows by arch_idx: NAS-Bench-201 0..899 and 900..1899,
        FBNet and once-for-all 0..3999 and 4000..4999. Samples are of the pool, and the training devices are known
        there only. The default where it is defined.
  all   As in NASFLAT (Akhauri and Abdelfattah, MLSys 2024): the training devices are known on all rows, samples are of
        all rows, and all rows but the samples are queries.

sample sets
  reference  the method's own choice, the same for every device: that of `latency_predictors.reference_set.choose`
             (low_rank has one of its own). So that draws differ, each draw lets it choose from another random half of
             the rows that may be measured.
  random     random rows, others in each draw.

methods
  the predictors of `latency_predictors.names()` that measure whole networks only (help meta-trains for minutes in every
  draw, whose first ten samples are its reference: take few draws), and simple ones:
  macs           MACs, scaled to the samples; their order needs none (--samples 0)
  ridge          ridge regression on the one-hot code; no training device
  ridge_devices  ridge regression on the latencies of the training devices. It reads what those took for the queries
                 themselves, which no user of a new architecture has: an upper bound for meta-learning by regression
  low_rank       factors of the training devices with an empirical-Bayes prior; reads the queries like ridge_devices

figures, means over the draws
  rho, tau         Spearman's and Kendall's rank correlation over all queries
  rho80            rho without the fastest and the slowest tenth of the device's queries, as HELP publishes
  mdape            median absolute percentage error, %
  coverage90       share of the queries in their 90 % interval
  rho_given_macs   partial rank correlation: what the order says beyond MACs
  rho_one_resolution  rho among queries of one input size, where the space has several
  calibration_ms   median time to choose the samples (choice_ms) and to calibrate; learning_s is what came before
  architectures_per_s  predicted at once, 100,000 of them, on one thread

examples
  python -m experiments.few_shot_latency --space fbnet --table DIR/latency/fbnet.parquet --method nonnegative \\
      --train-devices 1080ti_1,silver_4114 --test-devices eyeriss,pixel2 --sample-set random --json
  python -m experiments.few_shot_latency --space convnet --table shipped --method roofline --test-devices ncnn,tract
  python -m experiments.few_shot_latency.tables --data DIR --method nonnegative
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.few_shot_latency.adaptors import ADAPTORS
from experiments.few_shot_latency.baselines import methods
from experiments.few_shot_latency.benchmark import Plan, run
from experiments.few_shot_latency.dataset import load
from experiments.few_shot_latency.protocols import PROTOCOLS
from experiments.few_shot_latency.sample_sets import SAMPLE_SETS
from nas.progress import Reporter

SHOWN = ("rho", "rho80", "tau", "mdape", "coverage90", "rho_given_macs", "rho_one_resolution")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code: 0 done, 2 wrong use."""
    arguments = _parser().parse_args(argv)
    try:
        plan = Plan(
            method=arguments.method,
            train_devices=_names(arguments.train_devices),
            test_devices=_names(arguments.test_devices),
            samples=arguments.samples,
            draws=arguments.draws,
            protocol=arguments.protocol,
            sample_set=arguments.sample_set,
            seed=arguments.seed,
        )
        data = load(
            arguments.space, arguments.table, [path for paths in arguments.join for path in paths], arguments.phase
        )
        with Reporter().progress(f"{plan.method} on {data.space.name}") as advance:
            results = run(data, plan, advance)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(results), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps(results, allow_nan=False))
    return 0


def table(results: Mapping[str, Any]) -> str:
    """Markdown: a line for each device, and their mean."""
    shown = [name for name in SHOWN if results["mean"].get(name) is not None]
    lines = [f"| device | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for device, found in [*results["devices"].items(), ("mean", results["mean"])]:
        lines.append(f"| {device} | {' | '.join(_figure(name, found[name]) for name in shown)} |")
    return "\n".join(
        [
            f"{results['method']} on {results['space']} ({results['phase']}), protocol {results['protocol']}: "
            f"{results['samples']} samples ({results['sample_set']}), mean of {results['draws']} draws",
            *lines,
            f"choice and calibration {results['calibration_ms']:.1f} ms, "
            f"{results['architectures_per_s']:,.0f} architectures/s",
        ]
    )


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} %" if name == "mdape" else f"{value:.3f}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.few_shot_latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--space", required=True, help=f"{', '.join(ADAPTORS)}; with a bank any space")
    add("--table", required=True, help="*.parquet or *.csv; or a bank: *.jsonl, *.jsonl.gz, or 'shipped'")
    add(
        "--join", action="append", nargs="+", default=[], metavar="TABLE",
        help="a table with further devices: rows by arch_idx or ops where both have it, else in the same order",
    )  # fmt: skip
    add("--phase", help="of the workload (default: the first of the space)")
    add("--train-devices", default="", metavar="A,B", help="columns of the table (default: none)")
    add("--test-devices", required=True, metavar="C,D", help="each in its turn is the unseen one")
    add("--samples", type=int, default=10, help="measurements of the unseen device (default: 10)")
    add("--draws", type=int, default=20, help="how often they are drawn anew (default: 20)")
    add("--method", required=True, metavar="M", help=", ".join(methods()))
    add("--protocol", choices=list(PROTOCOLS), help="default: help where it is defined for the table")
    add("--sample-set", choices=list(SAMPLE_SETS), default="reference", help="default: reference")
    add("--seed", type=int, default=0, help="of the draws (default: 0)")
    add("--json", action="store_true", help="one JSON object, last on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
