"""`python -m experiments.latency_limits`: do networks picked at a latency limit keep it when they are measured?

On every device of the pool, ten networks calibrate the predictors; for each of fifty random limits, the best network
that is predicted to keep it is searched, by stand-ins for accuracy; then all picks are measured. Everything is kept
in `runs/latency_limits/` as it comes in: the command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import search_spaces
from experiments.device_pool.__main__ import DEVICES
from experiments.latency_limits.figures import figures, mean, tables
from experiments.latency_limits.picking import POOL, Pool, StandIns
from experiments.latency_limits.stages import Settings, Trial


def main(argv: list[str]) -> None:
    """Do what is missing, then print the tables."""
    arguments = parsed(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for trial in trials(arguments):
        if not arguments.table:
            trial.run()
        if "check" in trial.state():
            found[trial.device.name] = figures(trial)
    print(tables(found), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps({"devices": found, "mean": mean(found)} if found else {"devices": {}}))


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [device.name for device in DEVICES]
    parser.add_argument("--devices", nargs="*", default=known, choices=known, metavar="NAME")
    parser.add_argument("--limits", type=int, default=Settings.limits)
    parser.add_argument("--samples", type=int, default=Settings.samples, help="networks measured to calibrate")
    parser.add_argument("--random", type=int, default=Settings.random, help="networks measured that nothing selected")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--max-seconds", type=float, default=Trial.max_seconds, help="of a measurement, about")
    parser.add_argument("--out", type=Path, default=Path("runs/latency_limits"))
    parser.add_argument("--table", action="store_true", help="only print what is on record")
    parser.add_argument("--json", action="store_true", help="one JSON object last on standard output")
    return parser.parse_args(argv)


def trials(arguments: argparse.Namespace) -> Iterator[Trial]:
    """One for each device; all with the same stand-ins."""
    settings = Settings(arguments.limits, arguments.samples, arguments.random, arguments.seed)
    rng = np.random.default_rng(settings.seed)
    pool = Pool.draw(StandIns.draw(search_spaces.get("convnet"), settings.limits, rng), POOL, rng)
    for device in DEVICES:
        if device.name in arguments.devices:
            yield Trial(device, pool, settings, arguments.out, arguments.max_seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
