"""Every sampler keeps the contract."""

from __future__ import annotations

from types import MappingProxyType

from nas.testing.samplers import BatchSamplerContract, SamplerContract


class TestRandom(BatchSamplerContract):
    sampler = "random"
    missed = 1.2


class TestLocalSearch(BatchSamplerContract):
    sampler = "local_search"


class TestRegularizedEvolution(BatchSamplerContract):
    sampler = "regularized_evolution"
    options = MappingProxyType({"population": 12, "tournament": 4})


class TestNSGAII(SamplerContract):
    sampler = "nsga2"
    options = MappingProxyType({"population": 6})


class TestTPE(SamplerContract):
    sampler = "tpe"
    budget = 20
