"""`python -m experiments.many_devices.baselines --data DIR`: other searches of the same supernet.

Each has as many evaluations as the own one, in the same chain of studies, and is judged at the same limits: random
search with the same predictor; once-for-all's recipe, an evolution with a latency table of blocks that are measured
alone; a search that knows MACs and no device. The supernet must be trained and the devices calibrated
(`experiments.many_devices.specialisation`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from experiments.many_devices.choosing import chosen
from experiments.many_devices.methods import BASELINES
from experiments.many_devices.settings import Settings, parser, settings
from experiments.many_devices.studies import studies


def add_options(found: argparse.ArgumentParser) -> None:
    """Those of this part."""
    found.add_argument("--methods", nargs="*", default=list(BASELINES), choices=list(BASELINES), metavar="NAME")
    found.add_argument("--baseline-seeds", type=int, default=1, help="how many of the seeds the others have")


def compare(settings: Settings, methods: Sequence[str], seeds: int) -> None:
    """Do what is not on record yet."""
    for name in methods:
        for seed in settings.seeds[:seeds]:
            for study in studies(settings, BASELINES[name], seed):
                chosen(settings, BASELINES[name], seed, study)


if __name__ == "__main__":
    parsing = parser(__doc__)
    add_options(parsing)
    arguments = parsing.parse_args(sys.argv[1:])
    compare(settings(arguments), arguments.methods, arguments.baseline_seeds)
