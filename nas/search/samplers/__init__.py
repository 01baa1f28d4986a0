"""Samplers: what decides which networks a study evaluates next."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from nas.errors import UsageError
from nas.options import check_name, check_options
from nas.search.problem import Problem
from nas.search.samplers.unique import UniqueSampler

#: Module and class of each sampler; a module is imported when its sampler is asked for.
_SAMPLERS = {
    "integer_program": "nas.search.samplers.by_program:IntegerProgramSampler",
    "local_search": "nas.search.samplers.local_search:LocalSearch",
    "nsga2": "nas.search.samplers.by_optuna:NSGAII",
    "random": "nas.search.samplers.by_chance:RandomSampler",
    "regularized_evolution": "nas.search.samplers.regularized_evolution:RegularizedEvolution",
    "screened": "nas.search.samplers.screened:ScreenedSampler",
    "tpe": "nas.search.samplers.by_optuna:TPE",
}


def names() -> list[str]:
    """The samplers that there are."""
    return sorted(_SAMPLERS)


def make_sampler(name: str, options: Mapping[str, Any], problem: Problem, seed: int) -> UniqueSampler:
    """The sampler `name`, made with `options`.

    Args:
        problem: space, objectives and limits.
        seed: of all random draws.

    Raises:
        UsageError: when the sampler or an option is unknown, or an option is out of its range.
    """
    check_name("sampler", "search.sampler.name", name, names())
    module, _, attribute = _SAMPLERS[name].partition(":")
    constructor: type[UniqueSampler] = getattr(importlib.import_module(module), attribute)
    try:
        checked = check_options(f"sampler {name!r}", constructor, options, given=("problem", "seed"))
        return constructor(problem, seed, **checked)
    except ValueError as error:
        raise UsageError(f"search.sampler.options of {name!r}: {error}") from error
