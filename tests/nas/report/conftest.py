"""A made-up search in a small space of convnets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import search_spaces
from nas.report import CalibrationData, Check, Chosen, Evaluation, Objective, ReportData, TrainingRow


def small_space() -> search_spaces.SearchSpace:
    return search_spaces.get(
        "convnet",
        resolutions=(8,),
        in_channels=1,
        stem=16,
        widths=((16, 24), (32, 48)),
        strides=(1, 2),
        depths=((1, 2), (1, 2)),
        head=64,
    )


def synthetic_run(
    space: search_spaces.SearchSpace, evaluations: int = 120, title: str = "digits on one core"
) -> ReportData:
    """Accuracy grows with the logarithm of MACs and with the width of stage 2; latency is nearly linear in MACs."""
    rng = np.random.default_rng(0)
    architectures = space.sample(evaluations, seed=1)
    codes = space.codes(architectures)
    macs = space.macs(codes) / 1e6
    kernels = space.features(codes)[:, 0]
    latency = (0.05 + 0.004 * kernels + 0.06 * macs / macs.mean()) * rng.normal(1, 0.03, evaluations)
    accuracy = 0.9 + 0.04 * np.log(macs / macs.min()) / np.log(macs.max() / macs.min())
    accuracy += 0.02 * codes[:, [choice.name.endswith("2_width") for choice in space.choices]].sum(axis=1)
    accuracy = np.clip(accuracy + rng.normal(0, 0.004, evaluations), 0, 0.995)
    limit = float(np.quantile(latency, 0.8))
    done = tuple(
        Evaluation(
            number,
            architectures[number],
            {
                "accuracy": float(accuracy[number]),
                "latency_ms.local": float(latency[number]),
                "latency_low_ms.local": float(0.93 * latency[number]),
                "latency_high_ms.local": float(1.08 * latency[number]),
                "macs_m": float(macs[number]),
                "memory_mb": float(space.memory_bytes(codes[number : number + 1])[0] / 1e6),
            },
            bool(latency[number] <= limit),
        )
        for number in range(evaluations)
    )
    data = ReportData(
        title=title,
        facts=(
            ("space", f"{space.name}, {space.size:,} networks"),
            ("task", "digits"),
            ("training", "312 s"),
            ("device", "local: ONNX Runtime 1.23, 1 thread"),
        ),
        objectives=(Objective("accuracy", "maximize"), Objective("latency_ms.local", "minimize", "ms")),
        limits={"latency_ms.local": limit},
        evaluations=done,
        space=space,
        calibrations=(_calibration("local", rng), _calibration("raspberry-pi-4", rng)),
        training=tuple(
            TrainingRow(
                step,
                step / 100,
                0.5 * step,
                {"largest": float(2.3 * np.exp(-step / 400) + 0.1), "smallest": float(2.3 * np.exp(-step / 600) + 0.2)},
            )
            for step in range(0, 2000, 40)
        ),
        subnets={"smallest": {"accuracy": 0.9412}, "largest": {"accuracy": 0.9731}},
    )
    if not data.front:
        return data
    picked = data.front[len(data.front) // 3]
    checks = (
        Check("parity", True, "logits within 1e-4 of torch", "largest difference 3.1e-6"),
        Check("latency on local", False, f"at most {limit:.3f} ms", f"{limit * 1.1:.3f} ms"),
    )
    return replace(data, chosen=Chosen(picked.architecture, picked.metrics, checks))


def _calibration(device: str, rng: np.random.Generator) -> CalibrationData:
    measured = rng.uniform(0.08, 0.3, 30)
    predicted = measured * rng.normal(1, 0.05, 30)
    return CalibrationData(
        device,
        "gaussian_process",
        measured[:10],
        predicted[:10],
        measured[10:],
        predicted[10:],
        0.9 * predicted[10:],
        1.1 * predicted[10:],
        {"spearman": 0.981, "kendall": 0.91, "mdape": 3.1, "coverage90": 0.95},
        0.842,
    )


@pytest.fixture(scope="session")
def space() -> search_spaces.SearchSpace:
    return small_space()


@pytest.fixture(scope="session")
def run(space: search_spaces.SearchSpace) -> ReportData:
    return synthetic_run(space)
