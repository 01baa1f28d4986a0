"""The Pareto front of loss and roofline latency that a law foretells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from plotly import graph_objects as go

from experiments.language_scaling.law import Law
from experiments.language_scaling.shapes import Floats, Trainings, shapes
from latency_predictors.spec_sheet import SpecSheet
from nas.search.pareto import nondominated
from search_spaces import SearchSpace
from search_spaces.space import Codes


@dataclass(frozen=True)
class Front:
    """Networks that no other candidate beats in both, by rising latency.

    Attributes:
        codes: shape (n, number of choices).
        latency_ms: on the roofline, shape (n,).
        loss: shape (n,).
    """

    codes: Codes
    latency_ms: Floats
    loss: Floats


def front(codes: Codes, latency_ms: Floats, loss: Floats) -> Front:
    """The best trade-offs among candidates; of equal ones the first."""
    kept = np.flatnonzero(nondominated(np.stack([latency_ms, loss], axis=1)))
    kept = kept[np.unique(latency_ms[kept], return_index=True)[1]]
    return Front(codes[kept], latency_ms[kept], loss[kept])


def foretold(
    law: Law, space: SearchSpace, sheet: SpecSheet, phase: str, known: Trainings, draws: int, seed: int
) -> Front:
    """The front among the known networks and random ones, all with the loss that the law says after the most tokens that
    were trained on.

    Args:
        law: fitted to `known`.
        space: of the networks.
        sheet: of the device.
        phase: whose latency counts.
        known: networks that were trained.
        draws: number of random networks.
        seed: of the draws.
    """
    drawn = space.random_codes(draws, np.random.default_rng(seed))
    codes = np.unique(np.concatenate([known.codes, drawn]), axis=0)
    tokens = np.full(len(codes), known.shapes.sizes["tokens"].max())
    return front(codes, sheet.times(space, codes, phase).total_ms, law.predict(shapes(space, codes, tokens)))


def figure(known: Trainings, latency_ms: Floats, best: Front, law: Front, x_title: str, y_title: str) -> go.Figure:
    """Loss against latency: what was trained, its front, and the front of the law.

    Args:
        known: networks that were trained.
        latency_ms: theirs, shape (n,).
        best: the front of those.
        law: the front that is foretold.
        x_title: of the latency.
        y_title: of the loss.
    """
    drawn = go.Figure()
    drawn.add_scatter(x=latency_ms, y=known.loss, mode="markers", name="trained", marker={"color": "#8a8f98"})
    drawn.add_scatter(
        x=best.latency_ms, y=best.loss, mode="lines+markers", name="their front", line={"color": "#0072B2"}
    )
    drawn.add_scatter(
        x=law.latency_ms, y=law.loss, mode="lines", name="front of the law", line={"color": "#D55E00", "dash": "dash"}
    )
    drawn.update_layout(template="simple_white", xaxis_title=x_title, yaxis_title=y_title)
    return drawn
