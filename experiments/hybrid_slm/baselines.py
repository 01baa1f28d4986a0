"""`python -m experiments.hybrid_slm.baselines`: a table of the networks that were trained alone and measured.

Reads the rows that `experiments.hybrid_slm.alone` and `experiments.hybrid_slm.times` wrote. Bits per byte alone are the mean
and the standard deviation over seeds; times are those of each phase, in milliseconds, of the fastest session.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from experiments.rows import RowFile

Row = Mapping[str, Any]


def table(alone: Sequence[Row], times: Iterable[Row], device: str) -> str:
    """Markdown: a line for each network that was measured, with the times of one device."""
    ending = f"_ms.{device}"
    measured = fastest(times, ending)
    phases = list(next(iter(measured.values()), {}))
    head = ["network", "M parameters", "seeds", "bits per byte", "recall (%)", "inherited", "recall (%)"]
    head += [phase.removesuffix(ending) for phase in phases]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for network, row in measured.items():
        cells = _trained([one for one in alone if one["network"] == network])
        lines.append("| " + " | ".join([network, *cells, *(f"{row[phase]:.3g}" for phase in phases)]) + " |")
    return "\n".join(lines)


def fastest(times: Iterable[Row], ending: str) -> dict[str, dict[str, float]]:
    """Of each network: the shortest of its times in each phase whose name ends so."""
    found: dict[str, dict[str, float]] = {}
    for row in times:
        best = found.setdefault(row["network"], {})
        for name, ms in row.items():
            if name.endswith(ending):
                best[name] = min(ms, best.get(name, ms))
    return found


def _trained(rows: Sequence[Row]) -> list[str]:
    """The cells of one network before its times."""
    if not rows:
        return ["", "0", "", "", "", ""]
    bits = [row["alone"]["bits_per_byte"] for row in rows]
    spread = f" ± {stdev(bits):.3f}" if len(bits) > 1 else ""
    recall = ", ".join(f"{100 * row['alone']['recall']:.0f}" for row in rows)
    inherited = rows[0]["inherited"]
    return [
        f"{rows[0]['parameters_m']:.2f}",
        str(len(rows)),
        f"{mean(bits):.3f}{spread}",
        recall,
        f"{inherited['bits_per_byte']:.3f}",
        f"{100 * inherited['recall']:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alone", type=Path, default=Path("runs/hybrid_slm_alone.jsonl"))
    parser.add_argument("--times", type=Path, default=Path("runs/hybrid_slm_times.jsonl"))
    parser.add_argument("--devices", nargs="+", default=["local", "openvino"])
    arguments = parser.parse_args()
    alone, times = RowFile(arguments.alone).read(), RowFile(arguments.times).read()
    if not times:
        parser.error(f"{arguments.times} has no rows; `python -m experiments.hybrid_slm.times` writes them")
    print("\n\n".join(table(alone, times, device) for device in arguments.devices))


if __name__ == "__main__":
    main()
