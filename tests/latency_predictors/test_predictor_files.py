from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from latency_predictors import LatencyPredictor, get, load
from latency_predictors.files import read_json, write_json, write_text
from search_spaces import SearchSpace


@pytest.fixture
def saved(tiny: SearchSpace, tmp_path: Path) -> Path:
    codes = tiny.random_codes(40, np.random.default_rng(0))
    predictor: LatencyPredictor = get("nonnegative")(tiny)
    predictor.calibrate(codes, 0.1 + tiny.macs(codes) / 1e6)
    path = tmp_path / "predictor.json"
    predictor.save(path)
    return path


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_file_says_what_it_is(saved: Path, tiny: SearchSpace) -> None:
    data = json.loads(saved.read_text())
    assert data["version"] == 1
    assert data["predictor"] == "nonnegative"
    assert data["space"]["name"] == "convnet"
    assert data["space"]["options"]["in_channels"] == 1
    assert data["space"]["fingerprint"] == tiny.fingerprint
    assert data["phase"] == "inference"
    assert list(data["state"]["ms_per_unit"]) == list(tiny.feature_names())
    assert [path.name for path in saved.parent.iterdir()] == ["predictor.json"]  # nothing temporary is left


def test_a_built_space_is_used(saved: Path, tiny: SearchSpace) -> None:
    assert load(saved, tiny).space is tiny
    assert load(saved).space is not tiny


def test_another_space_raises(saved: Path, convnet: SearchSpace) -> None:
    with pytest.raises(ValueError, match="calibrate anew"):
        load(saved, convnet)
    space = json.loads(saved.read_text())["space"]
    edit(saved, space=space | {"options": space["options"] | {"head": 128}})
    with pytest.raises(ValueError, match="calibrate anew"):
        load(saved)


def test_an_unknown_space_or_option_raises(saved: Path) -> None:
    space = json.loads(saved.read_text())["space"]
    edit(saved, space=space | {"name": "convnett"})
    with pytest.raises(ValueError, match="did you mean 'convnet'"):
        load(saved)
    edit(saved, space=space | {"options": {"heads": 3}})
    with pytest.raises(ValueError, match="did you mean 'head'"):
        load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "format version 2"),
        ({"predictor": "nonnegativ"}, "did you mean 'nonnegative'"),
        ({"phase": "decode"}, "phase 'decode'"),
        ({"state": {}}, "state is not one of predictor 'nonnegative'"),
        ({"state": {"ms_per_unit": {"kernels": 1.0}, "overhead_ms": 0, "relative_error": 0.1}}, "features kernels"),
        ({"state": {"ms_per_unit": [], "overhead_ms": 0, "relative_error": 0.1}}, "predictor"),
        ({"space": "convnet"}, "which space"),
    ],
)
def test_a_changed_file_raises(saved: Path, changes: dict[str, Any], message: str) -> None:
    edit(saved, **changes)
    with pytest.raises(ValueError, match=message):
        load(saved)


def test_unreadable_files_raise(tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    with pytest.raises(ValueError, match="No such file"):
        load(path)
    for content, message in [("{", "not JSON"), ("[1]", "expected a JSON object"), ("{}", "it has no phase")]:
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not JSON"):
        load(path)


def test_weights_from_a_file_must_be_latencies(saved: Path) -> None:
    state = json.loads(saved.read_text())["state"]
    for wrong in ({"relative_error": -0.1}, {"overhead_ms": float("nan")}, {"overhead_ms": -1.0}):
        edit(saved, state=state | wrong)
        with pytest.raises(ValueError, match="not a finite number from 0"):
            load(saved)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of it \ud800")
    assert read_json(path, "a test") == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_predictors_are_found_by_name() -> None:
    assert get("nonnegative").name == "nonnegative"
    with pytest.raises(ValueError, match="did you mean 'nonnegative'"):
        get("non_negative")


def test_loading_needs_no_more_than_the_file(saved: Path) -> None:
    space = search_spaces.get("convnet", **json.loads(saved.read_text())["space"]["options"])
    codes = space.random_codes(5, np.random.default_rng(1))
    # With MACs and a constant the truth lies in the model, so that the loaded weights can be checked against it.
    np.testing.assert_allclose(load(saved).predict(codes).mean_ms, 0.1 + space.macs(codes) / 1e6, rtol=1e-6)
