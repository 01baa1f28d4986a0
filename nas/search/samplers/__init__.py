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
    "local_search": "nas.search.samplers.local_search:LocalSearch",
    "nsga2": "nas.search.samplers.by_optuna:NSGAII",
    "random": "nas.search.samplers.by_chance:RandomSampler",
    "regularized_evolution": "nas.search.samplers.regularized_evolution:RegularizedEvolution",
