"""Verification of a network that classifies images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from latency_predictors.devices.sessions import DeviceSession
from nas.export.agreement import Agreement
from nas.export.check import Check
from nas.export.verifier import Verifier
from nas.tasks import ImageClassification, Split
from search_spaces.supernet import resize

BATCH_SIZES = (1, 4)
BATCH_SIZE = 250


class ImageVerifier(Verifier):
    """Verifies a bundle whose network classifies images."""

    found_anew: ClassVar[frozenset[str]] = frozenset(["accuracy", "size_mb"])

    def outputs(self) -> Iterator[Check]:
        """As for `Verifier.outputs`, by the device's runtime."""
        with DeviceSession(self.device, self.bundle.model) as session:
            yield from self._parity(session)
            yield from self._accuracy(session)

    def model(self, phase: str) -> bytes:
        """As for `Verifier.model`."""
        return self.bundle.model

    def _check_input(self) -> None:
        said = self.bundle.manifest["input"]
        (true,) = self.bundle.space.input_shapes(self.bundle.architecture).items()
        if (said["name"], tuple(said["shape"])) != true:
            raise self.bundle.wrong("input", f"the network takes {true[0]} of the shape {list(true[1])}")

    def _parity(self, session: DeviceSession) -> Iterator[Check]:
        network = self.bundle.network()
        self._check_input()
        generator = torch.Generator().manual_seed(self.seed)
        worst, tolerance = 0.0, self.device.make_backend().tolerance
        for batch in BATCH_SIZES:
            shape = (batch, *self.bundle.manifest["input"]["shape"][1:])
            images = torch.randn(shape, generator=generator)
            with torch.inference_mode():
                expected = network(images)
            difference = (self._logits(session, images) - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
            worst = max(worst, float(difference))
            yield Check(
                f"outputs equal torch's, batch {batch}",
                bool(difference <= tolerance),
                f"relative difference <= {tolerance:g}",
                f"{float(difference):.2g}",
            )
        self.measured["parity"] = worst

    def _logits(self, session: DeviceSession, images: Tensor) -> Tensor:
        outputs = session.run({self.bundle.manifest["input"]["name"]: images.contiguous().numpy()})
        return torch.from_numpy(np.asarray(next(iter(outputs.values()))))

    def _accuracy(self, session: DeviceSession) -> Iterator[Check]:
        task = self.loaded_task("accuracy")
        if isinstance(task, Check):
            yield task
            return
        assert isinstance(task, ImageClassification)
        expected = self.bundle.metric("accuracy")
        found = self._share_correct(session, task, "validation")
        self.measured |= {"accuracy": found, "test_accuracy": self._share_correct(session, task, "test")}
        # Sums in another order may turn single images that two classes tie for.
        allowed, text = 1.5 / len(task.validation), f"{found:.2%}"
        passed = abs(found - expected) <= allowed
        if not passed:
            agreement = self._agreement(session, task)
            passed = abs(agreement.accuracy - expected) <= allowed and agreement.explained
            text = f"{text}: {agreement.text}"
        yield Check("accuracy on validation images", passed, f"{expected:.2%}", text)

    def _agreement(self, session: DeviceSession, task: ImageClassification) -> Agreement:
        network, agreement = self.bundle.network(), Agreement(self.device.make_backend().tolerance)
        for images, target in task.batches("validation", BATCH_SIZE):
            images = resize(images, self._pixels)
            with torch.inference_mode():
                expected = network(images)
            found = self._logits(session, images)
            agreement.add(expected, found, task.hits(expected, target), task.hits(found, target))
        return agreement

    @property
    def _pixels(self) -> tuple[int, ...]:
        return tuple(self.bundle.manifest["input"]["shape"][2:])

    def _share_correct(self, session: DeviceSession, task: ImageClassification, split: Split) -> float:
        correct = seen = 0
        for images, target in task.batches(split, BATCH_SIZE):
            correct += task.correct(self._logits(session, resize(images, self._pixels)), target)
            seen += len(target)
        return correct / seen
