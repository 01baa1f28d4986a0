"""`python -m experiments.hybrid_slm.ranking FILE`: do inherited weights rank networks as training them alone does?

Reads the rows that `experiments.hybrid_slm.alone` wrote of random networks, takes the mean over seeds, and prints Kendall's
tau of both metrics, and of bits per byte with the number of parameters, the plainest guess.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean

from scipy.stats import kendalltau

from experiments.rows import RowFile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("runs/hybrid_slm_alone.jsonl"))
    parser.add_argument("--prefix", default="random", help="of the names of the networks that are compared")
    arguments = parser.parse_args()
    networks = defaultdict(list)
    for row in RowFile(arguments.file).read():
        if row["network"].startswith(arguments.prefix):
            networks[row["network"]].append(row)
    for metric in ("bits_per_byte", "recall"):
        alone = [mean(row["alone"][metric] for row in found) for found in networks.values()]
        inherited = [found[0]["inherited"][metric] for found in networks.values()]
        print(f"{metric}: tau {kendalltau(alone, inherited).statistic:.2f} of {len(networks)} networks")
    alone = [mean(row["alone"]["bits_per_byte"] for row in found) for found in networks.values()]
    smaller = [-found[0]["parameters_m"] for found in networks.values()]
    print(f"bits_per_byte, by more parameters alone: tau {kendalltau(alone, smaller).statistic:.2f}")


if __name__ == "__main__":
    main()
