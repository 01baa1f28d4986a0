"""Predictors by name, and predictors from files."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import search_spaces
from latency_predictors.files import read_json
from latency_predictors.predictor import FORMAT_VERSION, LatencyPredictor
from search_spaces import SearchSpace
from search_spaces.space import nearest

_PREDICTORS = {
    "gaussian_process": "latency_predictors.gaussian_process:GaussianProcess",
    "help": "latency_predictors.help:Help",
    "lookup_table": "latency_predictors.lookup_table:LookupTable",
    "nasflat": "latency_predictors.nasflat:Nasflat",
    "nonnegative": "latency_predictors.nonnegative:NonNegative",
    "roofline": "latency_predictors.roofline:Roofline",
}


def names() -> list[str]:
    """The predictors that `get` knows."""
    return sorted(_PREDICTORS)


def get(name: str) -> type[LatencyPredictor]:
    """The class of the predictor `name`.

    Raises:
        ValueError: naming the nearest one when there is no such predictor.
    """
    if name not in _PREDICTORS:
        raise ValueError(
            f"there is no latency predictor {name!r}{nearest(name, names())}; there are {', '.join(names())}"
        )
    module, _, attribute = _PREDICTORS[name].partition(":")
    predictor: type[LatencyPredictor] = getattr(importlib.import_module(module), attribute)
    return predictor


def load(path: str | os.PathLike[str], space: SearchSpace | None = None) -> LatencyPredictor:
    """The calibrated predictor that `save` wrote to `path`.

    Args:
        path: a JSON file.
        space: the space of the predictor when it is already built; otherwise it is made anew.

    Raises:
        ValueError: when the file cannot be read, is of another version, or of another space.
    """
    return from_document(read_json(path, "a latency predictor"), space)


def from_document(document: Mapping[str, Any], space: SearchSpace | None = None) -> LatencyPredictor:
    """The calibrated predictor whose `document()` this is; arguments and errors as for `load`."""
    missing = {"version", "predictor", "space", "phase", "state"} - set(document)
    if missing:
        raise ValueError(f"this is not a saved latency predictor: it has no {', '.join(sorted(missing))}")
    if document["version"] != FORMAT_VERSION:
        raise ValueError(
            f"the predictor is of format version {document['version']!r}, this release reads {FORMAT_VERSION}: calibrate anew"
        )
    predictor = get(str(document["predictor"]))(_space(document["space"], space), document["phase"])
    predictor.restore(document["state"])
    return predictor


def _space(saved: Any, given: SearchSpace | None) -> SearchSpace:
    """`given`, or the space that `saved` describes, when its fingerprint is the saved one."""
    try:
        name, options, fingerprint = saved["name"], saved["options"], saved["fingerprint"]
        space = given if given is not None else search_spaces.get(name, **options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the saved predictor does not say which space it is for: {error!r}") from error
    if space.fingerprint != fingerprint:
        raise ValueError(
            f"the predictor was calibrated for space {name!r} with fingerprint {fingerprint}, "
            f"this is {space.name!r} with {space.fingerprint}: calibrate anew for it"
        )
    return space
