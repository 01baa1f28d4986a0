"""`python -m experiments.many_devices.specialisation --data DIR`: train once, then a study for each device and seed.

The studies of a seed are a chain: each begins with what the ones before it evaluated. Ten measurements calibrate a
device, once for all seeds. The networks that are chosen at limits are exported; those of the first seed are bundles, and
verified.
"""

from __future__ import annotations

import sys

from experiments.many_devices.choosing import chosen, verified
from experiments.many_devices.methods import OWN
from experiments.many_devices.settings import Settings, parser, settings
from experiments.many_devices.studies import studies, train


def specialise(settings: Settings) -> None:
    """Do what is not on record yet."""
    train(settings)
    for seed in settings.seeds:
        for study in studies(settings, OWN, seed):
            chosen(settings, OWN, seed, study)
            if seed == settings.seeds[0]:
                verified(settings, study)


if __name__ == "__main__":
    specialise(settings(parser(__doc__).parse_args(sys.argv[1:])))
