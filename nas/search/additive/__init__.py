"""Sums over the parts of a network: scores and costs that add up, exactly or nearly."""

from __future__ import annotations

from nas.search.additive.decomposition import NotAdditive, decompose
from nas.search.additive.places import Place, choice_places, slot_places
from nas.search.additive.scores import additive_scores, fitted_scores
from nas.search.additive.sums import Additive

__all__ = [
    "Additive",
    "NotAdditive",
    "Place",
    "additive_scores",
    "choice_places",
    "decompose",
    "fitted_scores",
    "slot_places",
]
