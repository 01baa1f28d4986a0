"""Verification of a bundle, whatever its network does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from latency_predictors import Device
from latency_predictors.devices.engines import Engine
from nas.export.bundle import Bundle
from nas.export.check import Check, Verification
from nas.export.image_verification import ImageVerifier
from nas.export.language_verification import LanguageVerifier
from nas.export.manifest import IMAGES, LANGUAGE
from nas.export.verifier import Verifier
from nas.tasks import Task

__all__ = ["Check", "Verification", "Verifier", "verify"]

_VERIFIERS: Mapping[str, type[Verifier]] = MappingProxyType({IMAGES: ImageVerifier, LANGUAGE: LanguageVerifier})


def verify(bundle: Bundle, device: Device, task: Task | None = None, engine: Engine | None = None) -> Verification:
    """Check outputs, metrics of the task, latency, limits and size of `bundle` on `device`.

    Raises:
        CheckFailed: when a file of the bundle was changed.
        UsageError: when the bundle is damaged in another way.
    """
    return _VERIFIERS[bundle.kind](bundle, device, task, engine=engine).run()
