"""A run on a language model with two phases, and two metrics that are evaluated: from training to the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas
import search_spaces
from latency_predictors import Bank, Calibration
from nas.config import parse
from nas.errors import CheckFailed, UsageError
from nas.pipeline import existing_stages, profile_space
from nas.report.gather import gather
from nas.stages import Stages
from nas.targets import Target, wanted_targets
from nas.testing.toy_language import NAME, ToyLanguage, toy_space

PREFILL, DECODE = "prefill_16_ms.local", "decode_48_ms.local"


def config(path: Path, search: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    """A run in `path` that takes seconds."""
    found = {
        "objectives": ["bits_per_byte", "recall", DECODE],
        "limits": [f"{PREFILL} <= 1000", "memory_mb <= 100 %"],
        "evaluations": 11,
        "sampler": {"options": {"initial": 8, "batch_size": 3}},
    }
    data = {
        "name": "toy",
        "directory": str(path),
        "threads": 1,
        "space": {"name": NAME},
        "training": {
            "epochs": 6.0,
            "batch_size": 32,
            "optimizer": "adamw",
            "learning_rate": 0.01,
            "precision": "float32",
            "strategy": {"options": {"distillation_weight": 0.5}},
        },
        "calibration": {"predictor": "nonnegative", "samples": 4, "holdout": 3, "max_seconds": 0.2},
        "search": {**found, **(search or {})},
        **changes,
    }
    return parse(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("language")
    with pytest.raises(UsageError, match="networks for ToyLanguage are not exported yet: 'nas front"):
        nas.run(config(path), task=ToyLanguage())
    return path


@pytest.fixture(scope="module")
def stages(finished: Path) -> Stages:
    return existing_stages(finished, task=ToyLanguage())


def test_both_phases_are_calibrated_and_predicted(finished: Path, stages: Stages) -> None:
    files = sorted(file.name for file in (finished / "calibration").glob("*.json"))
    assert files == ["local.decode_48.json", "local.prefill_16.json"]
    done = stages.evaluations()
    codes = stages.space.codes([evaluation.architecture for evaluation in done])
    for phase, name in zip(stages.space.phases, (PREFILL, DECODE), strict=True):
        calibration = Calibration.load(finished / "calibration" / f"local.{phase}.json", stages.space)
        assert calibration.predictor.phase == phase
        prediction = calibration.predictor.predict(codes)
        np.testing.assert_allclose([e.metrics[name] for e in done], prediction.mean_ms)
        high = name.replace("_ms", "_high_ms")
        np.testing.assert_allclose([e.metrics[high] for e in done], prediction.upper_ms(0.99))
        kept = Bank(finished / "bank.jsonl").records(space=stages.space, phase=phase)
        assert len(kept) == 7
    assert len(Bank(finished / "bank.jsonl").records()) == 14


def test_every_metric_is_that_of_the_network_by_hand(stages: Stages) -> None:
    task, done = ToyLanguage(), stages.evaluations()
    assert len(done) == 11
    for evaluation in done[:3]:
        network = stages.supernet.extract(evaluation.architecture).eval()
        ((tokens, target),) = task.batches("validation", 1000)
        with torch.no_grad():
            logits = network(tokens)
        judged = target >= 0
        bits = -logits.log_softmax(-1).gather(-1, target.clamp(min=0)[..., None])[..., 0][judged].mean() / np.log(2)
        even = judged & (target % 2 == 0)
        assert evaluation.metrics["bits_per_byte"] == pytest.approx(float(bits), rel=1e-5)
        assert evaluation.metrics["recall"] == pytest.approx(float((logits.argmax(-1) == target)[even].double().mean()))


def test_memory_is_that_of_the_phase_that_needs_most(stages: Stages) -> None:
    found = stages.space.sample(20, seed=1)
    codes = stages.space.codes(found)
    both = np.stack([stages.space.memory_bytes(codes, phase) for phase in stages.space.phases])
    memory = next(metric for metric in stages.metrics if metric.name == "memory_mb")
    assert memory.values is not None
    np.testing.assert_allclose(memory.values(codes), both.max(0) / 1e6)
    weights = [sum(4 * p.numel() for p in stages.space.build(architecture).parameters()) for architecture in found]
    assert (memory.values(codes) * 1e6 > weights).all()


def test_profile_front_and_report_tell_of_both_phases(finished: Path, stages: Stages) -> None:
    assert {PREFILL, DECODE} <= profile_space(stages, 50).keys()
    data = gather(stages)
    assert [objective.name for objective in data.objectives] == ["bits_per_byte", "recall", DECODE]
    assert [calibration.quantity for calibration in data.calibrations] == ["prefill_16_ms", "decode_48_ms"]
    values = data.values * [1, -1, 1]
    beaten = [(np.delete(values, row, 0) <= one).all(1).any() for row, one in enumerate(values)]
    np.testing.assert_array_equal(data.on_front, ~np.array(beaten))
    page = (finished / "report.html").read_text()
    for text in ("Decode 48 (local)", "Prefill 16 (local)", "Bits per byte", "recall", "validation samples for recall"):
        assert text in page, text


def test_training_learns_and_says_what_the_ends_reach(finished: Path) -> None:
    training = json.loads((finished / "training.json").read_text())
    assert training["validation"].keys() == {"smallest", "largest"}
    assert all(figures.keys() == {"bits_per_byte", "recall"} for figures in training["validation"].values())
    # Without what came before a token there are two followers of equal probability, or about so; by chance 3.58 bits.
    assert training["validation"]["largest"]["bits_per_byte"] < 2.5
    assert not training["execution"]["channels_last"]


def test_a_percentage_is_of_the_largest_network(finished: Path, stages: Stages) -> None:
    (limit,) = [limit for limit in stages.limits if limit.metric == "memory_mb"]
    codes = stages.space.codes([stages.space.largest()])
    both = [stages.space.memory_bytes(codes, phase)[0] for phase in stages.space.phases]
    assert limit.value == pytest.approx(max(both) / 1e6, rel=1e-3)


def targets(*named: str, **export: Any) -> dict[str, list[str]]:
    """What is wanted of each phase on each device."""
    search = {"objectives": ["bits_per_byte", *named], "limits": []}
    run = config(Path(), search, export=export, devices=["local", "other"])
    found = wanted_targets(run, toy_space(), ["bits_per_byte", "recall"])
    return {f"{target.device} {target.phase}": wanted for target, wanted in found.items()}


def test_only_phases_that_are_named_are_wanted() -> None:
    assert targets("macs_m") == {}
    assert targets(PREFILL) == {"local prefill_16": [], "other prefill_16": []}
    assert targets(PREFILL, where=["decode_48_first_ms.local <= 1 and decode_48_ms.other <= 50 %"]) == {
        "local prefill_16": [], "local decode_48": ["first_ms"], "other prefill_16": [], "other decode_48": []
    }  # fmt: skip
    assert targets("decode_48_peak_memory_mb.other") == {"other decode_48": ["peak_memory_mb"]}
    assert targets("prefill_16_first_ms.local", "decode_48_energy_mj.local", PREFILL) == {
        "local prefill_16": ["first_ms"], "local decode_48": ["energy_mj"], "other prefill_16": []
    }  # fmt: skip
    one = wanted_targets(parse({"name": "one"}), search_spaces.get("convnet"), ["accuracy"])
    assert one == {Target("local", "inference"): []}


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"objectives": ["bits_per_byte", "latency_ms.local"]}, "there is no metric 'latency_ms.local'"),
        ({"objectives": ["bits_per_byte", "decode_49_ms.local"]}, "did you mean 'decode_48_ms.local'"),
        ({"objectives": ["accuracy", DECODE]}, "there is no metric 'accuracy'"),
        ({"objectives": ["bits_per_byte", "peak_memory_mb.local"]}, "did you mean 'decode_48_peak_memory_mb.local'"),
        (
            {"stopping_risk": 0.01},
            "search.stopping_risk ends evaluations .* this task evaluates bits_per_byte and recall",
        ),
    ],
)
def test_wrong_wishes_are_told_before_training(tmp_path: Path, search: dict[str, Any], message: str) -> None:
    engine = {} if search else {"engine": "ray"}
    with pytest.raises(UsageError, match=message):
        nas.run(config(tmp_path, search, **engine), task=ToyLanguage())
    assert not (tmp_path / "supernet.safetensors").exists()


def test_a_vocabulary_that_is_another_one(tmp_path: Path) -> None:
    space = {"name": NAME, "options": {"vocabulary": 13}}
    with pytest.raises(
        UsageError, match=r"the data has vocabulary = 12, the space 13; set space.options.vocabulary=12"
    ):
        nas.run(config(tmp_path, space=space), task=ToyLanguage())


def test_a_hopeless_limit_of_a_phase(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "calibration", tmp_path / "calibration")
    with pytest.raises(CheckFailed, match=f"'{DECODE} <= 1e-06': the nearest network has"):
        nas.run(config(tmp_path, {"limits": [f"{DECODE} <= 1e-6"]}), task=ToyLanguage())


def test_figures_of_another_run_are_taken_over(finished: Path, stages: Stages, tmp_path: Path) -> None:
    shutil.copytree(finished / "calibration", tmp_path / "calibration")
    for name in ("supernet.safetensors", "training.json"):
        shutil.copy(finished / name, tmp_path)
    search = {"objectives": ["recall", PREFILL], "limits": [], "evaluations": 1, "warm_start": str(finished)}
    found = nas.search(config(tmp_path, {**search, "sampler": {"name": "random"}}), task=ToyLanguage())
    theirs = stages.evaluations()
    assert len(found) == len(theirs) + 1
    assert [one.metrics for one in found[:-1]] == [one.metrics for one in theirs]
