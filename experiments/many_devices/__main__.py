"""`python -m experiments.many_devices --data DIR`: one supernet for many devices, against what else could be done.

All parts in order; each can be run by itself, and does only what is not on record: `.specialisation`, `.baselines`,
`.alone`, `.measuring`, `.tables`.
"""

from __future__ import annotations

import sys

from experiments.many_devices import alone, baselines, tables
from experiments.many_devices.measuring import measured
from experiments.many_devices.settings import parser, settings
from experiments.many_devices.specialisation import specialise


def main(argv: list[str]) -> None:
    """Do what is missing, then print the tables."""
    parsing = parser(__doc__)
    baselines.add_options(parsing)
    alone.add_options(parsing)
    arguments = parsing.parse_args(argv)
    found = settings(arguments)
    specialise(found)
    baselines.compare(found, arguments.methods, arguments.baseline_seeds)
    alone.train(found, arguments.families, arguments.widths, arguments.seconds, arguments.processes)
    measured(found)
    print(tables.write(found))


if __name__ == "__main__":
    main(sys.argv[1:])
