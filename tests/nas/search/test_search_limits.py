"""Limits: what can be written, what it means, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_predictors import Prediction, get
from nas.errors import UsageError
from nas.search.limits import Limit, cheap_violation, parse, parse_all
from nas.search.metrics import ACCURACY, Metric, bound_name, cheap_metrics, find, record
from search_spaces import SearchSpace


@pytest.fixture(scope="module")
def metrics(small: SearchSpace) -> list[Metric]:
    """With a latency whose interval has a width."""
    codes = small.random_codes(12, np.random.default_rng(0))
    noise = np.random.default_rng(1).uniform(0.8, 1.25, len(codes))
    predictor = get("nonnegative")(small)
    predictor.calibrate(codes, (0.1 + small.macs(codes) / 1e6) * noise)
    return [ACCURACY, *cheap_metrics(small, {"dev": {"latency_ms": predictor}})]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("latency_ms.local <= 5", Limit("latency_ms.local", 1, 5.0)),
        ("latency_ms.local<=5", Limit("latency_ms.local", 1, 5.0)),
        ("  accuracy  >=  .9 ", Limit("accuracy", -1, 0.9)),
        ("macs_m <= 1.5e3", Limit("macs_m", 1, 1500.0)),
        ("macs_m <= 2E-1", Limit("macs_m", 1, 0.2)),
        ("x >= -3", Limit("x", -1, -3.0)),
        ("latency_ms.my-board_2 <= +7.", Limit("latency_ms.my-board_2", 1, 7.0)),
    ],
)
def test_forms(text: str, limit: Limit) -> None:
    assert parse(text) == limit


@pytest.mark.parametrize(
    "text",
    ["", "macs_m", "macs_m < 5", "macs_m = 5", "macs_m <= five", "5 >= macs_m", "macs_m <= 5 ms", "macs_m <= 1.2.3", "a b <= 1"],
)  # fmt: skip
def test_what_is_no_limit_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@given(st.floats(-1e9, 1e9, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9), st.sampled_from(["<=", ">="]))
def test_a_number_is_not_rounded(value: float, operator: str) -> None:
    assert parse(f"metric {operator} {value!r}").value == value


@pytest.mark.parametrize("text", ["macs_m <= 12345.6", "accuracy >= 0.98765", "latency_ms.dev <= 5", "x >= 0.1"])
def test_text_of_a_limit_reads_back(text: str) -> None:
    assert str(parse(text)) == text


def test_percent_is_a_share_of_the_largest_network(small: SearchSpace, metrics: list[Metric]) -> None:
    codes = small.codes([small.largest()])
    for name, value in (("macs_m", small.macs(codes)[0] / 1e6), ("parameters_m", small.parameters(codes)[0] / 1e6)):
        (limit,) = parse_all([f"{name} <= 37.5 %"], metrics, small)
        assert limit.value == pytest.approx(0.375 * value, rel=1e-3)
        assert parse_all([f"{name}<=37.5%"], metrics, small) == [limit]


def test_percent_needs_a_cheap_metric_and_a_space(small: SearchSpace, metrics: list[Metric]) -> None:
    with pytest.raises(UsageError, match="accuracy is a number"):
        parse_all(["accuracy >= 90 %"], metrics, small)
    with pytest.raises(UsageError, match="give a number here"):
        parse("macs_m <= 50 %")


def test_and_joins(small: SearchSpace, metrics: list[Metric]) -> None:
    joined = parse_all(["macs_m <= 5 and accuracy >= 0.5", "memory_mb <= 1"], metrics, small)
    assert joined == parse_all(["macs_m <= 5", "accuracy >= 0.5", "memory_mb <= 1"], metrics, small)
    assert len(joined) == 3


def test_unknown_metric_names_the_nearest(small: SearchSpace, metrics: list[Metric]) -> None:
    for text in ("mac_m <= 5", "mac_m <= 5 %"):
        with pytest.raises(UsageError, match=r"'mac_m'.*'macs_m'"):
            parse_all([text], metrics, small)


def test_upper_limit_counts_the_upper_end_of_the_interval() -> None:
    found = {"latency_ms.dev": 4.0, "latency_high_ms.dev": 6.0, "accuracy": 0.7}
    assert parse("latency_ms.dev <= 5").missed_by(found) == pytest.approx(1.0)
    assert parse("latency_ms.dev >= 5").missed_by(found) == pytest.approx(1.0)
    assert parse("accuracy >= 0.9").missed_by(found) == pytest.approx(0.2)
    assert parse("accuracy <= 0.9").missed_by(found) == pytest.approx(-0.2)


def test_the_interval_is_above_the_mean(small: SearchSpace, metrics: list[Metric]) -> None:
    rows = record(metrics, small.random_codes(20, np.random.default_rng(3)))
    assert all(row[bound_name("latency_ms.dev")] > row["latency_ms.dev"] for row in rows)


def test_cheap_violation_is_a_plain_loop(small: SearchSpace, metrics: list[Metric]) -> None:
    codes = small.random_codes(200, np.random.default_rng(2))
    texts = ["latency_ms.dev <= 60 %", "latency_ms.dev >= 30 %", "macs_m >= 20 %", "memory_mb <= 70 %", "accuracy >= 2"]
    limits = parse_all(texts, metrics, small)
    expected = []
    for row in range(len(codes)):
        total = 0.0
        for limit in limits:
            if limit.metric == "accuracy":
                continue
            metric = find(limit.metric, metrics)
            assert metric.values is not None
            value = metric.values(codes[row : row + 1])[0]
            if limit.metric == "latency_ms.dev" and limit.sign > 0:
                assert metric.bound is not None
                value = metric.bound(codes[row : row + 1])[0]
            if limit.sign > 0 and value > limit.value:
                total += (value - limit.value) / limit.value
            if limit.sign < 0 and value < limit.value:
                total += (limit.value - value) / limit.value
        expected.append(total)
    found = cheap_violation(limits, metrics, codes)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert 0 < (found == 0).sum() < len(codes)  # the limits cut through the sample


def test_violation_agrees_with_the_recorded_constraint(small: SearchSpace, metrics: list[Metric]) -> None:
    codes = small.random_codes(200, np.random.default_rng(4))
    limits = parse_all(["latency_ms.dev <= 60 %"], metrics, small)
    kept = [limits[0].missed_by(row) <= 0 for row in record(metrics, codes)]
    assert kept == (cheap_violation(limits, metrics, codes) <= 0).tolist()


def test_a_confident_limit_is_stricter_by_students_quantiles(small: SearchSpace) -> None:
    codes = small.random_codes(12, np.random.default_rng(0))
    predictor = get("nonnegative")(small)
    predictor.calibrate(codes, (0.1 + small.macs(codes) / 1e6) * np.random.default_rng(1).uniform(0.8, 1.25, 12))
    usual, strict = (
        find("latency_ms.dev", cheap_metrics(small, {"dev": {"latency_ms": predictor}}, confidence))
        for confidence in (0.95, 0.99)
    )
    expected = predictor.predict(codes)
    np.testing.assert_allclose(usual.bounds(codes), expected.high_ms)
    widths = np.log(strict.bounds(codes) / expected.mean_ms) / np.log(usual.bounds(codes) / expected.mean_ms)
    np.testing.assert_allclose(widths, 3.36493 / 2.01505, rtol=1e-5)  # printed tables of t, 5 degrees of freedom
    np.testing.assert_array_equal(strict.values(codes), expected.mean_ms)  # type: ignore[misc]


@pytest.mark.parametrize("confidence", [0.49, 1.0, float("nan")])
def test_a_bound_that_no_latency_can_have_is_refused(confidence: float) -> None:
    prediction = Prediction(np.ones(1), np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match=r"at least 0\.5 and less than 1"):
        prediction.upper_ms(confidence)
