"""`python -m experiments.many_devices.tables`: what is on record, as Markdown tables and pictures in the `--out` folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.latency_limits.figures import kept
from experiments.many_devices.advantages import alone, alternatives, matrix
from experiments.many_devices.comparing import table
from experiments.many_devices.costs import cost_tables
from experiments.many_devices.evidence import Evidence
from experiments.many_devices.methods import METHODS, OWN
from experiments.many_devices.pictures import write_pictures
from experiments.many_devices.settings import Settings, parser, settings
from experiments.rows import Row
from latency_predictors import Calibration, Prediction
from latency_predictors.metrics import errors
from nas.files import write_text


def write(settings: Settings) -> str:
    """Write `tables.md` and `pictures.html`; gives the tables."""
    found = Evidence.read(settings)
    text = tables(found)
    write_text(settings.out / "tables.md", text + "\n")
    write_pictures(found, settings.out / "pictures.html")
    return text


def tables(found: Evidence) -> str:
    """All tables for which something is on record."""
    parts = [
        (
            "Limits kept: met; how far below its limit the median network stays; greatest measured / limit",
            limits(found),
        ),
        ("Predicted against measured latency", predictions(found)),
        (
            "What the device of the column gains by its own choice over that for the device of the row, in points of test "
            "accuracy at equal latency: mean over the seeds (least to greatest)",
            matrix(found),
        ),
        (
            "How much more accurate Nasmyth's choices are, in points of test accuracy at equal latency on each device",
            alternatives(found),
        ),
        ("Networks trained alone", alone(found)),
        ("Seconds", cost_tables(found)),
    ]
    return "\n\n".join(f"**{title}**\n\n{text}" for title, text in parts)


def limits(found: Evidence) -> str:
    """A row for each method that chooses at latency limits; all seeds together."""
    methods = [method for method in METHODS.values() if method.cost is None and found.of(method.name)]
    rows = [
        [m.title, *(_kept(found, found.of(m.name, device=device), device) for device in found.devices)] for m in methods
    ]
    return table(
        ["method", *found.devices], [*rows, ["Nasmyth, checks passed", *(_passed(found, d) for d in found.devices)]]
    )


def _kept(found: Evidence, choices: Sequence[Row], device: str) -> str:
    pairs = [(found.ms[device][row["key"]], row["limit_ms"]) for row in choices if row["key"] in found.ms[device]]
    if not pairs:
        return "-"
    figures = kept(*np.array(pairs).T)
    met = round(figures["met"] * figures["picks"])
    return f"{met} of {figures['picks']}; {figures['slack']:.0f} %; {figures['ratio_max']:.2f}"


def _passed(found: Evidence, device: str) -> str:
    """Bundles of which every check of `nas verify` passed, and which checks the others failed."""
    rows = found.settings.rows.read("verified", device=device)
    failed = sorted({check["name"] for row in rows for check in row["checks"] if not check["passed"]})
    text = f"{sum(row['passed'] for row in rows)} of {len(rows)}"
    return f"{text} ({', '.join(failed)})" if failed else text


def predictions(found: Evidence) -> str:
    """Of each device: on the random networks that test its calibration, and on the networks that were chosen."""
    head = ["device", "predictor", "random networks: median error", "inside 90 %", "Spearman", "of MACs"]
    head += ["chosen networks", "median error", "inside 90 %", "Spearman"]
    return table(head, [_prediction(found, device) for device in found.devices])


def _prediction(found: Evidence, device: str) -> list[str]:
    file = found.settings.out / "calibration" / OWN.predictor / f"{device}.json"
    chosen = {row["key"]: row for row in found.of(OWN.name, device=device) if row["key"] in found.ms[device]}
    return [
        device,
        *(_calibrated(Calibration.load(file)) if file.exists() else ["-"] * 5),
        *_chosen(found, device, chosen),
    ]


def _calibrated(calibration: Calibration) -> list[str]:
    return [calibration.predictor.name, *_errors(calibration.errors), f"{calibration.macs_spearman:.3f}"]


def _chosen(found: Evidence, device: str, chosen: Mapping[str, Row]) -> list[str]:
    if len(chosen) < 2:
        return [str(len(chosen)), "-", "-", "-"]
    columns = {name: np.array([row["predicted"][name] for row in chosen.values()]) for name in _ENDS}
    return [str(len(chosen)), *_errors(errors(Prediction(**columns), [found.ms[device][key] for key in chosen]))]


_ENDS = ("mean_ms", "low_ms", "high_ms")


def _errors(figures: Mapping[str, float]) -> list[str]:
    return [f"{figures['mdape']:.1f} %", f"{figures['coverage90']:.0%}", f"{figures['spearman']:.3f}"]


if __name__ == "__main__":
    print(write(settings(parser(__doc__).parse_args(sys.argv[1:]))))
