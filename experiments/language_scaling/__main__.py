"""`python -m experiments.language_scaling --sheet FILE`: loss as a law of the shape, and its front with roofline latency.

Reads the networks that a run of `experiments.hybrid_slm` evaluated, or with `--alone` those that were trained alone, holds out
folds of networks, fits the law to all of them, and says which shapes it holds to be best on the device of a data sheet.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from experiments.language_scaling.law import Law, predictors
from experiments.language_scaling.shapes import Floats, Trainings, evaluated, shapes, trained_alone
from experiments.language_scaling.trade_off import Front, figure, foretold, front
from experiments.language_scaling.validation import held_out
from latency_predictors.spec_sheet import SpecSheet
from nas.files import write_json, write_text
from nas.pipeline import existing_stages
from search_spaces import SearchSpace


def comparison(space: SearchSpace, table: Trainings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Held-out figures of the law and what it is compared with; deviations are over the repetitions."""
    found = {}
    for name, predictor in predictors(space).items():
        held = held_out(predictor, table, arguments.folds, arguments.repeats, arguments.seed)
        figures = {"r2": held.r2, "tau": held.tau}
        found[name] = {
            **{key: round(float(values.mean()), 3) for key, values in figures.items()},
            **{f"{key}_deviation": round(float(values.std()), 3) for key, values in figures.items()},
            "error": round(held.deviation, 4),
        }
        print(json.dumps({name: found[name]}), flush=True)
    return found


def rows(space: SearchSpace, found: Front, tokens: Floats) -> list[dict[str, Any]]:
    """The networks of a front with their shapes."""
    shape = shapes(space, found.codes, tokens)
    return [
        {
            "latency_ms": round(float(found.latency_ms[row]), 4),
            "loss": round(float(found.loss[row]), 4),
            "parameters_m": round(float(shape.parameters[row]) / 1e6, 3),
            **{name: round(float(values[row]), 3) for name, values in {**shape.sizes, **shape.shares}.items()},
        }
        for row in range(len(found.loss))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/hybrid_slm"))
    parser.add_argument(
        "--alone", type=Path, help="what experiments.hybrid_slm.alone wrote, in place of the run's networks"
    )
    parser.add_argument("--metric", default="bits_per_byte")
    parser.add_argument(
        "--sheet", type=Path, required=True, help="figures of the device, such as examples/sheets/*.yaml"
    )
    parser.add_argument("--phase", default="decode_2048")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--draws", type=int, default=20000, help="random networks beside the known ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/language_scaling"))
    arguments = parser.parse_args()
    sheet, stages = SpecSheet.load(arguments.sheet), existing_stages(arguments.run)
    space = stages.space
    table = (
        trained_alone(space, arguments.alone, arguments.metric)
        if arguments.alone
        else evaluated(space, stages.evaluations(), arguments.metric)
    )
    compared = comparison(space, table, arguments)
    law = Law.fit(table.shapes, table.loss)
    latency_ms = sheet.times(space, table.codes, arguments.phase).total_ms
    best = front(table.codes, latency_ms, table.loss)
    wished = foretold(law, space, sheet, arguments.phase, table, arguments.draws, arguments.seed)
    most = table.shapes.sizes["tokens"].max()
    document = {
        "trainings": len(table),
        "networks": int(table.networks.max()) + 1,
        "held_out": compared,
        "law": {"floor": law.floor, "exponents": dict(law.exponents), "weights": dict(law.weights)},
        "device": dict(sheet.document()),
        "phase": arguments.phase,
        "front": rows(space, best, best.loss * 0 + most),
        "front_of_the_law": rows(space, wished, wished.loss * 0 + most),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "scaling.json", document)
    drawn = figure(table, latency_ms, best, wished, f"{arguments.phase} on {sheet.name}, ms", arguments.metric)
    write_text(arguments.out / "front.html", drawn.to_html(include_plotlyjs=True))
    print(json.dumps({key: document[key] for key in ("trainings", "networks", "law")}, indent=1))
    print(
        f"{arguments.out / 'scaling.json'} and {arguments.out / 'front.html'}: {len(wished.loss)} networks on the front of the law"
    )


if __name__ == "__main__":
    main()
