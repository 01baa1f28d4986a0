"""`python -m experiments.hybrid_slm.picture`: bits per byte, time per token and recall of a run's networks, as a page.

Beside the networks that the search evaluated stand uniform and hand-made ones, all with the weights of the supernet; see
`experiments.hybrid_slm.networks` for their names.
"""

from __future__ import annotations

import argparse
import os
from itertools import cycle
from pathlib import Path

from experiments.hybrid_slm.networks import UNIFORM, networks
from nas.files import write_text
from nas.pipeline import existing_stages
from nas.report import labels
from nas.search.metrics import find
from nas.stages import Stages

#: Of the networks that the search found, and of each named one.
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star")

Point = tuple[str, float, float, float]
"""Name, milliseconds, bits per byte, recall."""


def evaluated(stages: Stages, latency: str) -> list[Point]:
    """The networks of the search."""
    found = [evaluation.metrics for evaluation in stages.evaluations()]
    return [("", metrics[latency], metrics["bits_per_byte"], metrics["recall"]) for metrics in found]


def named(stages: Stages, latency: str, names: list[str]) -> list[Point]:
    """Networks by name, judged with the weights of the supernet."""
    found = networks(stages, names)
    predict = find(latency, stages.metrics).values
    assert predict is not None, "latency is a cheap metric"
    times = predict(stages.space.codes(list(found.values())))
    figures = [stages.judge.figures(stages.judge.network(one), one) for one in found.values()]
    return [
        (name, float(ms), own["bits_per_byte"], own["recall"])
        for name, ms, own in zip(found, times, figures, strict=True)
    ]


def page(found: list[Point], references: list[Point], axis: str) -> str:
    """One HTML page that needs no network."""
    import plotly.graph_objects as go

    figure = go.Figure()
    groups = [("found by the search", found), *((point[0].replace("_", " "), [point]) for point in references)]
    for (name, points), symbol in zip(groups, cycle(SYMBOLS), strict=False):
        _, times, bits, recalls = zip(*points, strict=True)
        figure.add_scatter(
            x=times,
            y=bits,
            name=name,
            mode="markers",
            marker={
                "symbol": symbol,
                "size": 9 if points is found else 15,
                "color": [100 * recall for recall in recalls],
                "coloraxis": "coloraxis",
                "line": {"width": 1, "color": "#333"},
            },
        )
    figure.update_layout(
        template="plotly_white",
        width=900,
        height=520,
        margin={"t": 20, "r": 20},
        legend={"x": 0.99, "y": 0.99, "xanchor": "right"},
        xaxis={
            "title": axis,
            "type": "log",
            "tickvals": [step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5)],
        },
        yaxis={"title": "bits per byte of the validation books"},
        coloraxis={"colorscale": "Viridis", "colorbar": {"title": "recall, %"}, "cmin": 0, "cmax": 100},
    )
    return str(figure.to_html(include_plotlyjs=True, config={"displayModeBar": False}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/hybrid_slm"))
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--networks", nargs="+", default=list(UNIFORM))
    parser.add_argument("--phase", default="decode_2048")
    parser.add_argument("--device", default="local")
    parser.add_argument("--out", type=Path, default=Path("runs/hybrid_slm_front.html"))
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    stages, latency = existing_stages(arguments.run), f"{arguments.phase}_ms.{arguments.device}"
    axis = f"{labels.metric(latency, 'ms').text}, as predicted, ms"
    references = named(stages, latency, arguments.networks)
    for name, ms, bits, recall in references:
        print(f"{name}: {bits:.3f} bits per byte, recall {recall:.1%}, {ms:.3g} ms")
    write_text(arguments.out, page(evaluated(stages, latency), references, axis))
    print(arguments.out)


if __name__ == "__main__":
    main()
