from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from latency_predictors import Device, Failure, Measurement, complete
from latency_predictors.devices.engines import LocalEngine
from nas.errors import CheckFailed
from nas.export import verifier as module
from nas.export.bundle import Bundle
from nas.export.check import Check
from nas.export.image_bundle import write_bundle
from nas.export.verification import Verification, verify
from nas.tasks import ImageClassification

Edit = Callable[[dict[str, Any]], object]


def results(bundle: Bundle, device: Device) -> dict[str, Check]:
    return {check.name: check for check in verify(bundle, device).checks}


def failed(bundle: Bundle, device: Device) -> list[str]:
    return [name for name, check in results(bundle, device).items() if not check.passed]


def edited(bundle: Bundle, edit: Edit) -> Bundle:
    file = bundle.path / "manifest.json"
    manifest = json.loads(file.read_text())
    edit(manifest)
    file.write_text(json.dumps(manifest))
    return Bundle(bundle.path)


def test_fresh_bundle_passes(bundle: Bundle, device: Device) -> None:
    found = verify(bundle, device)
    assert found.passed
    assert [check.name for check in found.checks] == [
        "outputs equal torch's, batch 1",
        "outputs equal torch's, batch 4",
        "accuracy on validation images",
        "latency on local as predicted",
        "limit on macs_m",
        "size of model.onnx",
    ]
    assert Verification.from_document(json.loads(json.dumps(found.document()))) == found


def test_accuracies_are_those_of_onnxruntime(bundle: Bundle, device: Device) -> None:
    manifest = bundle.manifest
    data = ImageClassification.load("digits", validation=manifest["task"]["validation"], seed=manifest["seed"])
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    found = verify(bundle, device).measured
    for name, images in (("accuracy", data.validation), ("test_accuracy", data.test)):
        mean, std = (np.array(manifest["input"][key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
        values = (images.images.numpy() / np.float32(255) - mean) / std
        (logits,) = session.run(None, {"images": values.astype(np.float32)})
        assert found[name] == pytest.approx(np.mean(logits.argmax(1) == images.labels.numpy()), abs=1.5 / len(images))


def test_swapped_weights_fail_parity_only(bundle: Bundle, device: Device) -> None:
    network = bundle.network()
    with torch.no_grad():
        next(iter(network.parameters())).mul_(1.01)
    changed = write_bundle(bundle.path, bundle.model, network, bundle.architecture, bundle.manifest)
    assert failed(changed, device) == ["outputs equal torch's, batch 1", "outputs equal torch's, batch 4"]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            lambda manifest: manifest["metrics"].update(accuracy=manifest["metrics"]["accuracy"] + 0.02),
            "accuracy on validation images",
        ),
        (lambda manifest: manifest.update(limits=["latency_ms.local <= 1e-6"]), "limit on latency_ms.local"),
        (lambda manifest: manifest.update(limits=["accuracy >= 0.9999"]), "limit on accuracy"),
        (lambda manifest: manifest.update(limits=["macs_m <= 1e-6"]), "limit on macs_m"),
        (lambda manifest: scale_latency(manifest, 10.0), "latency on local as predicted"),
        (lambda manifest: scale_latency(manifest, 0.1), "latency on local as predicted"),
        (lambda manifest: manifest.update(data_fingerprint="other"), "accuracy"),
        (lambda manifest: manifest["task"].update(data="no/such/folder"), "accuracy"),
    ],
)
def test_each_check_can_fail_alone(bundle: Bundle, device: Device, edit: Edit, expected: str) -> None:
    assert failed(edited(bundle, edit), device) == [expected]


def scale_latency(manifest: dict[str, Any], factor: float) -> None:
    known = manifest["devices"]["local"]
    known.update({key: factor * known[key] for key in ("mean_ms", "low_ms", "high_ms")})


def test_slower_machine_than_at_calibration_is_allowed_for(bundle: Bundle, device: Device) -> None:
    """As if all were measured on a machine three times as fast: references and prediction agree again."""

    def faster(manifest: dict[str, Any]) -> None:
        scale_latency(manifest, 1 / 3)
        for reference in manifest["devices"]["local"]["references"]:
            reference["latency_ms"] /= 3

    found = results(edited(bundle, faster), device)["latency on local as predicted"]
    assert found.passed
    assert "slower than when it was calibrated" in found.expected


def test_bloated_model_fails(bundle: Bundle, device: Device) -> None:
    import onnx

    model = onnx.load_from_string(bundle.model)
    model.doc_string = "x" * 2_000_000
    changed = write_bundle(
        bundle.path, model.SerializeToString(), bundle.network(), bundle.architecture, bundle.manifest
    )
    assert failed(changed, device) == ["size of model.onnx"]


def test_limits_on_other_devices_are_not_judged(bundle: Bundle, device: Device) -> None:
    checks = results(edited(bundle, lambda data: data.update(limits=["latency_ms.phone <= 1e-6"])), device)
    assert not [name for name in checks if name.startswith("limit")]


def test_unknown_device_is_measured_but_not_compared(bundle: Bundle, device: Device) -> None:
    found = verify(bundle, replace(device, name="other"))
    assert "latency on other as predicted" not in {check.name for check in found.checks}
    assert found.measured["latency_ms"] > 0
    assert "drift" not in found.measured


class Elsewhere(LocalEngine):
    """Another machine, where everything takes a thousand times as long."""

    def measure(self, *arguments: Any, **options: Any) -> tuple[dict[str, Any], list[Measurement | Failure]]:
        mark, found = super().measure(*arguments, **options)
        return mark, [replace(result, latency_ms=1000 * result.latency_ms) for result in complete(found)]


class Disturbed(LocalEngine):
    """In the first `sessions` sessions the network takes nine times as long, and the references `others` times.

    That is far from any limit here, since machines have been seen to be twice as fast in one minute as in another.
    """

    def __init__(self, sessions: int, others: float = 1) -> None:
        self.sessions, self.others, self.measured = sessions, others, 0

    def measure(self, *arguments: Any, **options: Any) -> tuple[dict[str, Any], list[Measurement | Failure]]:
        mark, found = super().measure(*arguments, **options)
        self.measured += 1
        first, *others = complete(found)
        if self.measured <= self.sessions:
            first = replace(first, latency_ms=9 * first.latency_ms)
            others = [replace(other, latency_ms=self.others * other.latency_ms) for other in others]
        return mark, [first, *others]


@pytest.mark.parametrize(("disturbed", "measured", "passed"), [(0, 1, True), (2, 3, True), (3, 3, False)])
def test_a_latency_not_as_predicted_is_measured_again(
    bundle: Bundle, device: Device, disturbed: int, measured: int, passed: bool
) -> None:
    engine = Disturbed(disturbed)
    (check,) = [c for c in verify(bundle, device, engine=engine).checks if c.name == "latency on local as predicted"]
    assert (check.passed, engine.measured) == (passed, measured)
    assert ("measured 3 times" in check.found) == (measured == 3)


@pytest.mark.parametrize(("disturbed", "measured", "passed"), [(0, 1, True), (2, 3, True), (3, 3, False)])
def test_a_limit_missed_on_a_slower_machine_is_measured_again(
    bundle: Bundle, device: Device, disturbed: int, measured: int, passed: bool
) -> None:
    limit = 3 * bundle.manifest["devices"]["local"]["mean_ms"]
    limited = edited(bundle, lambda data: data.update(limits=[f"latency_ms.local <= {limit}"]))
    engine = Disturbed(disturbed, others=9)
    checks = {check.name: check for check in verify(limited, device, engine=engine).checks}
    assert (checks["limit on latency_ms.local"].passed, engine.measured) == (passed, measured)
    assert checks["latency on local as predicted"].passed


def test_a_limit_missed_at_any_speed_is_measured_once(bundle: Bundle, device: Device) -> None:
    limit = bundle.manifest["devices"]["local"]["mean_ms"] / 2
    limited = edited(bundle, lambda data: data.update(limits=[f"latency_ms.local <= {limit}"]))
    engine = Disturbed(3, others=9)
    checks = {check.name: check for check in verify(limited, device, engine=engine).checks}
    assert (checks["limit on latency_ms.local"].passed, engine.measured) == (False, 1)
    assert checks["latency on local as predicted"].passed


def test_latency_is_that_of_the_engine(bundle: Bundle, device: Device) -> None:
    here, elsewhere = verify(bundle, device).measured, verify(bundle, device, engine=Elsewhere()).measured
    for figure in ("latency_ms", "drift"):
        assert elsewhere[figure] > 100 * here[figure]
    assert elsewhere["accuracy"] == here["accuracy"]


def test_changed_file_stops_before_anything_runs(
    bundle: Bundle, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr(module.LocalEngine, "measure", never)
    (bundle.path / "weights.safetensors").write_bytes(Path(bundle.path / "model.onnx").read_bytes())
    with pytest.raises(CheckFailed, match=r"weights\.safetensors was changed"):
        verify(bundle, device)
