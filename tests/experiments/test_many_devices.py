"""Many devices: equal latency, what specialisation gains, limits, costs, the networks that are trained alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import search_spaces
from experiments.many_devices.alone import efficientnet_lite, mobilenetv3
from experiments.many_devices.choosing import limits_ms
from experiments.many_devices.comparing import Point, advantage, at_latency, points, specialisation, spread
from experiments.many_devices.evidence import Evidence
from experiments.many_devices.methods import METHODS, OWN
from experiments.many_devices.pictures import write_pictures
from experiments.many_devices.settings import KNOWN, Settings
from experiments.many_devices.studies import study_config
from experiments.many_devices.tables import tables
from experiments.rows import Rows
from latency_predictors import get
from nas.config import load
from nas.search.samplers import names

CONFIG = Path(search_spaces.__file__).parents[1] / "experiments" / "many_devices" / "config.yaml"
FRONT = [Point(4.0, 0.7), Point(1.0, 0.5)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    devices = tuple(KNOWN[name] for name in ("onnxruntime", "openvino", "tract"))
    return Settings(load(CONFIG), tmp_path, devices, seeds=(0, 1))


# ------------------------------------------------------------------------------------------------------ equal latency


@pytest.mark.parametrize(
    ("ms", "accuracy"), [(1.0, 0.5), (2.0, 0.6), (4.0, 0.7), (9.0, 0.7), (math.sqrt(2), 0.55), (2 * math.sqrt(2), 0.65)]
)
def test_accuracy_is_interpolated_in_the_logarithm_of_the_latency(ms: float, accuracy: float) -> None:
    assert at_latency(FRONT, ms) == pytest.approx(accuracy)


def test_nothing_is_faster_than_the_fastest_network() -> None:
    assert math.isnan(at_latency(FRONT, 0.99))
    assert math.isnan(at_latency([], 1.0))


def test_a_network_that_others_beat_is_not_left_out() -> None:
    """It was chosen without the images that judge now; to leave it out would be to choose by them."""
    assert at_latency([*FRONT, Point(2.0, 0.4)], 2.0) == pytest.approx(0.4)
    assert at_latency([*FRONT, Point(8.0, 0.6)], 9.0) == pytest.approx(0.6)


def test_advantage_is_the_mean_over_what_can_be_compared() -> None:
    others = [Point(2.0, 0.55), Point(8.0, 0.75), Point(0.5, 0.1)]
    assert advantage(FRONT, others) == pytest.approx(((0.6 - 0.55) + (0.7 - 0.75)) / 2)
    assert math.isnan(advantage(FRONT, [Point(0.5, 0.1)]))
    assert math.isnan(advantage(FRONT, []))


def test_networks_are_points_once_and_only_where_they_were_measured() -> None:
    assert points(["a", "b", "a", "c"], {"a": 1.0, "b": 2.0}, {"a": 0.5, "b": 0.6, "c": 0.7}) == [
        Point(1.0, 0.5),
        Point(2.0, 0.6),
    ]


def test_what_specialisation_gains() -> None:
    """On X the choice for Y is interpolated between the choices for X; on Y one of X is too fast to compare."""
    chosen = {"X": ["a", "b"], "Y": ["b", "c"]}
    ms = {"X": {"a": 1.0, "b": 4.0, "c": 2.0}, "Y": {"a": 1.0, "b": 2.0, "c": 8.0}}
    accuracy = {"a": 0.5, "b": 0.7, "c": 0.55}
    found = specialisation(chosen, ms, accuracy)
    on_x = ((0.7 - 0.7) + (0.6 - 0.55)) / 2  # b is the same network, c takes 2 ms there
    on_y = 0.7 - 0.7  # of a and b only b
    np.testing.assert_allclose(found, [[0.0, on_y], [on_x, 0.0]], atol=1e-12)


def test_the_spread_over_seeds() -> None:
    assert spread([0.01, 0.03, -0.01]) == "+1.0 (-1.0 to +3.0)"
    assert spread([0.012, float("nan")]) == "+1.2"
    assert spread([float("nan")]) == "-"


# ------------------------------------------------------------------------------------------------------------- studies


def test_limits_are_between_the_smallest_and_the_largest_network() -> None:
    options = {"stem": 8, "widths": [[12, 16], [16, 24]], "strides": [1, 2], "depths": [[1, 2], [1]], "group_width": 4}
    space = search_spaces.get("convnet", **options)
    codes = space.codes(space.sample(10, seed=0))
    predictor = get("nonnegative")(space)
    predictor.calibrate(codes, 0.1 + space.macs(codes) / 1e8)
    limits = limits_ms(predictor, 4, 0.99)
    smallest, largest = predictor.predict(space.codes([space.smallest(), space.largest()])).upper_ms(0.99)
    assert smallest < limits[0] < limits[-1] < largest
    np.testing.assert_allclose(np.diff(np.log([smallest, *limits, largest])), np.log(largest / smallest) / 5)


def test_every_seed_begins_with_another_device(settings: Settings) -> None:
    orders = [[device.name for device in settings.chain(seed)] for seed in settings.seeds]
    assert orders == [["onnxruntime", "openvino", "tract"], ["openvino", "tract", "onnxruntime"]]


def test_a_later_study_takes_over_from_the_one_before(settings: Settings, tmp_path: Path) -> None:
    found = study_config(settings, OWN, 1, settings.devices[1], tmp_path / "before", 20)
    assert found.search.objectives == ["accuracy", "latency_ms.openvino"]
    assert (found.search.seed, found.seed) == (1, settings.config.seed)
    assert found.search.warm_start == str(tmp_path / "before")
    assert (found.space, found.task, found.training) == (
        settings.config.space,
        settings.config.task,
        settings.config.training,
    )
    by_macs = study_config(settings, METHODS["macs"], 0, settings.devices[0], None, 20)
    assert by_macs.search.objectives == ["accuracy", "macs_m"]
    by_blocks = study_config(settings, METHODS["once-for-all"], 0, settings.devices[0], None, 20)
    assert by_blocks.calibration.predictor == "lookup_table"


def test_the_methods_have_samplers_that_there_are() -> None:
    assert {method.sampler["name"] for method in METHODS.values()} <= set(names())


def test_networks_scaled_by_hand_are_the_published_ones_at_full_width() -> None:
    """Parameters as torchvision counts those of MobileNetV3-Large, timm those of EfficientNet-Lite0; strides add none."""
    for family, parameters in ((mobilenetv3, 5_483_032), (efficientnet_lite, 4_652_008)):
        space, architecture = family(1.0, 1000, 32)
        workload = space.workload(architecture, space.phases[0])
        assert workload.parameters == parameters
        assert [op for op in workload.ops if op.kind == "conv"][-2].output_shape[2:] == (4, 4)
        half_space, half = family(0.5, 1000, 32)
        assert half_space.workload(half, half_space.phases[0]).macs < workload.macs / 2


# ---------------------------------------------------------------------------------------------------- rows and tables


def test_seconds_add_up_and_are_kept_when_work_is_interrupted(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows")
    assert rows.read("seconds") == []
    with pytest.raises(KeyboardInterrupt), rows.timed("search", device="a"):
        raise KeyboardInterrupt
    with rows.timed("search", device="a"):
        pass
    with rows.timed("search", device="b"):
        pass
    assert len(rows.read("seconds", device="a")) == 2
    assert rows.seconds(device="a") == pytest.approx(sum(row["seconds"] for row in rows.read("seconds", device="a")))


def fill(rows: Rows) -> None:
    """Two devices, one seed; one of three limits of X is missed, and one has no network."""
    for key, family, test in (("a", "supernet", 0.5), ("b", "supernet", 0.7), ("m", "MobileNetV3, alone", 0.55)):
        rows.keep("network", key=key, family=family, macs_m=1.0, parameters_m=1.0, validation=test, test=test)
    rows.keep("plan", key="m", epochs=12.0)
    predicted = {"mean_ms": 2.0, "low_ms": 1.0, "high_ms": 3.0}
    for device, key, limit in (
        ("onnxruntime", "a", 2.0),
        ("onnxruntime", "b", 3.2),
        ("openvino", "b", 4.0),
    ):
        rows.keep(
            "choice", method="nasmyth", seed=0, device=device, limit="", limit_ms=limit, key=key, predicted=predicted
        )
    rows.keep("choice", method="nasmyth", seed=0, device="onnxruntime", limit="x", limit_ms=0.1, key=None)
    rows.keep("choice", method="macs", seed=0, device=None, limit="", limit_ms=1.0, key="a")
    for device, ms, failures in (("onnxruntime", [1.0, 4.0, 2.0], {}), ("openvino", [3.0, 2.0, None], {"m": "no"})):
        rows.keep("session", device=device, keys=["a", "b", "m"], latency_ms=ms, failures=failures)
    check = {"name": "limit", "passed": False, "expected": "", "found": ""}
    rows.keep("verified", device="onnxruntime", passed=True, checks=[])
    rows.keep("verified", device="onnxruntime", passed=False, checks=[check])
    of = {"method": "nasmyth", "seed": 0}
    rows.keep("seconds", stage="training", method="nasmyth", seed=None, device=None, seconds=100.0)
    for device, seconds in (("onnxruntime", 30.0), ("openvino", 10.0), ("tract", 20.0)):
        rows.keep("seconds", stage="search", **of, device=device, seconds=seconds)


def lines(text: str) -> dict[str, list[list[str]]]:
    """Cells of all rows by their first one."""
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(first, []).append(others)
    return found


def test_tables(settings: Settings) -> None:
    fill(settings.rows)
    text = tables(Evidence.read(settings))
    rows = lines(text)
    # a: 1 of 2 ms, b: 4 of 3.2 ms, so that the median of measured / limit is 0.875
    assert rows["Nasmyth"][0] == ["1 of 2; 12 %; 1.25", "1 of 1; 50 %; 0.50", "-"]
    assert rows["Nasmyth, checks passed"][0][0] == "1 of 2 (limit)"
    # predicted 2 ms, measured 1 and 4: errors of 100 % and 50 %, one of two inside of 1 to 3 ms
    assert rows["onnxruntime"][0] == [*["-"] * 5, "2", "75.0 %", "50%", "0.000"]
    assert rows["chosen for onnxruntime"][0][:2] == ["", "+10.0"]  # on openvino a takes longer than b: 70 - 50 and 0
    assert rows["chosen for openvino"][0][:2] == ["+0.0", ""]
    assert rows["MACs in place of latency"][0][:2] == ["+0.0", "+20.0"]
    assert rows["m, alone"][0][:2] == ["+5.0", "-"]  # 2 ms lie halfway between a and b in logarithm: 60 %
    assert rows["m"][0] == ["1.0", "12", "55.0", "2.000", "-", "-"]
    assert rows["mean after the first"][0] == ["0", "15", "0", "0", "15"]
    assert "m on openvino: no" in text
    assert "Training, once: 100. With all devices: 160." in text


def test_tables_of_nothing(settings: Settings) -> None:
    assert "Training, once: 0." in tables(Evidence.read(settings))


def test_pictures_have_a_part_for_every_device_that_was_measured(settings: Settings, tmp_path: Path) -> None:
    fill(settings.rows)
    write_pictures(Evidence.read(settings), tmp_path / "pictures.html")
    page = (tmp_path / "pictures.html").read_text()
    assert "<h2>onnxruntime</h2>" in page
    assert "<h2>openvino</h2>" in page
    assert "<h2>tract</h2>" not in page
