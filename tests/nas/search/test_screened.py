"""The default sampler."""

from __future__ import annotations

from nas.testing.samplers import BatchSamplerContract


class TestScreened(BatchSamplerContract):
    sampler = "screened"
