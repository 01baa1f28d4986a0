"""The law of loss in the shape: on networks whose law is known, against scikit-learn, and by brute force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import search_spaces
from experiments.language_scaling.law import Law, Ridge, predictors
from experiments.language_scaling.shapes import Floats, Shapes, Trainings, shapes, trained_alone, trainings
from experiments.language_scaling.trade_off import figure, foretold, front
from experiments.language_scaling.validation import held_out
from latency_predictors.spec_sheet import SpecSheet
from nas.errors import UsageError
from search_spaces import Architecture, SearchSpace

SHEET = SpecSheet("device", peak_gflops=100, bandwidth_gbs=10, launch_us=1)
FLOOR, CONSTANT = 1.2, 3.0
EXPONENTS = {"depth": 0.4, "width": 0.25, "feed_forward": 0.3, "tokens": 0.1}
WEIGHTS = {"short_convolution": 0.3, "attention": 0.0}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get(
        "hybrid-slm", vocabulary=64, widths=[16, 32, 64], depths=[2, 4, 8], mixers=["short_convolution", "attention"],
        heads=2, kv_heads=[2], ratios=[1, 2, 4], prefill=[32], decode=[64],
    )  # fmt: skip


def true_loss(shape: Shapes) -> Floats:
    power = np.prod([values ** -EXPONENTS[name] for name, values in shape.sizes.items()], axis=0)
    return np.asarray(
        FLOOR + CONSTANT * power * np.exp(sum(WEIGHTS[kind] * share for kind, share in shape.shares.items()))
    )


def table(space: SearchSpace, n: int = 150, noise: float = 0.0, seed: int = 0) -> Trainings:
    """Random networks, whose losses follow the law and have Gaussian noise."""
    rng = np.random.default_rng(seed)
    codes = space.codes(space.sample(n, seed))
    found = shapes(space, codes, rng.choice([1e5, 1e6, 1e7], n))
    return Trainings(codes, found, true_loss(found) + noise * rng.standard_normal(n))


def test_the_shape_is_that_of_the_architecture(space: SearchSpace) -> None:
    codes = space.codes(space.sample(30, seed=3))
    found = shapes(space, codes, np.arange(30.0))
    for row, architecture in enumerate(space.architectures(codes)):
        values = architecture.values
        depth = int(values["depth"])
        kinds = [values[f"layer{layer + 1}_mixer"] for layer in range(depth)]
        ratios = [float(values[f"layer{layer + 1}_ratio"]) for layer in range(depth)]
        assert {name: numbers[row] for name, numbers in found.sizes.items()} == pytest.approx(
            {"depth": depth, "width": values["width"], "feed_forward": 1 + np.mean(ratios), "tokens": row}
        )
        assert found.shares["attention"][row] == pytest.approx(kinds.count("attention") / depth)
    np.testing.assert_allclose(sum(found.shares.values()), 1.0)
    np.testing.assert_array_equal(found.parameters, space.parameters(codes))


def test_a_known_law_is_found(space: SearchSpace) -> None:
    known = table(space)
    law = Law.fit(known.shapes, known.loss)
    assert law.floor == pytest.approx(FLOOR, abs=0.1)
    assert dict(law.exponents) == pytest.approx(EXPONENTS, rel=0.15)
    difference = law.weights["short_convolution"] - law.weights["attention"]
    assert difference == pytest.approx(WEIGHTS["short_convolution"], rel=0.15)
    others = table(space, seed=7)
    np.testing.assert_allclose(law.predict(others.shapes), others.loss, rtol=0.01)


def test_the_law_foretells_better_than_counts_where_it_holds(space: SearchSpace) -> None:
    """Held out, with noise: nearly all but the noise is explained."""
    noise = 0.015
    known = table(space, noise=noise)
    found = {name: held_out(predictor, known, folds=5, repeats=1) for name, predictor in predictors(space).items()}
    explained = 1 - noise**2 / known.loss.var()
    ours = found.pop("law of the shape")
    assert ours.r2[0] == pytest.approx(explained, abs=0.03)
    assert ours.deviation == pytest.approx(noise, rel=0.25)
    assert ours.tau[0] > 0.75
    assert list(found) == ["log-linear in parameters and tokens", "ridge on counts", "Gaussian process of the search"]
    assert all(other.r2[0] < ours.r2[0] - 0.03 for other in found.values())


def test_a_size_that_does_not_vary_has_no_exponent(space: SearchSpace) -> None:
    known = table(space)
    fixed = Shapes(
        {**known.shapes.sizes, "tokens": np.full(len(known), 1e6)}, known.shapes.shares, known.shapes.parameters
    )
    law = Law.fit(fixed, true_loss(fixed))
    assert law.exponents["tokens"] == 0
    assert law.exponents["depth"] == pytest.approx(EXPONENTS["depth"], rel=0.15)
    with pytest.raises(ValueError, match="a loss is above 0"):
        Law.fit(fixed, -known.loss)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 30.0])
def test_ridge_and_its_left_out_predictions_are_those_of_scikit_learn(penalty: float) -> None:
    rng = np.random.default_rng(0)
    columns, values = rng.standard_normal((25, 4)) * [1, 5, 0.1, 2] + 3, rng.standard_normal(25)
    scaled = (columns - columns.mean(0)) / columns.std(0)
    theirs = SklearnRidge(alpha=penalty).fit(scaled, values)
    ours = Ridge.fit(columns, values, penalty)
    np.testing.assert_allclose(ours.coefficients * columns.std(0), theirs.coef_, atol=1e-10)
    np.testing.assert_allclose(ours.predict(columns), theirs.predict(scaled), atol=1e-10)
    left_out = cross_val_predict(SklearnRidge(alpha=penalty), scaled - scaled.mean(0), values, cv=LeaveOneOut())
    np.testing.assert_allclose(ours.left_out, left_out, atol=1e-8)
    assert make_pipeline(StandardScaler(), SklearnRidge(alpha=penalty)).fit(columns, values).predict(
        columns
    ) == pytest.approx(ours.predict(columns))


def test_the_mean_explains_nothing_and_folds_hold_whole_networks(space: SearchSpace) -> None:
    one = table(space, n=20)
    known = one.take(np.repeat(np.arange(20), 3))  # three seeds of each network
    assert held_out(lambda a, b: np.full(len(b), a.loss.mean()), known).r2.max() < 0.02

    def remembers(known: Trainings, asked: Trainings) -> Floats:
        seen = {row.tobytes() for row in known.codes}
        assert not seen & {row.tobytes() for row in asked.codes}
        return asked.loss

    perfect = held_out(remembers, known, folds=4, repeats=2)
    assert perfect.r2.tolist() == [1, 1]
    assert perfect.tau.tolist() == pytest.approx([1, 1])
    assert perfect.deviation == 0
    for folds, loss, message in ((21, known.loss, "20 networks cannot be cut"), (5, known.loss * 0 + 1, "all losses")):
        with pytest.raises(ValueError, match=message):
            held_out(remembers, Trainings(known.codes, known.shapes, loss), folds=folds)


def test_the_front_is_the_one_of_brute_force(space: SearchSpace) -> None:
    known = table(space, n=60)
    latency_ms = SHEET.times(space, known.codes, "decode_64").total_ms
    found = front(known.codes, latency_ms, known.loss)
    pairs = list(zip(latency_ms.tolist(), known.loss.tolist(), strict=True))
    best = [(x, y) for x, y in pairs if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in pairs)]
    assert list(zip(found.latency_ms.tolist(), found.loss.tolist(), strict=True)) == sorted(set(best))
    law = Law.fit(known.shapes, known.loss)
    wished = foretold(law, space, SHEET, "decode_64", known, draws=300, seed=0)
    assert (np.diff(wished.latency_ms) > 0).all()
    assert (np.diff(wished.loss) < 0).all()
    tokens = np.full(len(known), known.shapes.sizes["tokens"].max())
    mine = law.predict(shapes(space, known.codes, tokens))
    for x, y in zip(latency_ms, mine, strict=True):  # nothing that is known lies below the front of the law
        assert wished.loss[wished.latency_ms <= x + 1e-12].min() <= y + 1e-12
    page = figure(known, latency_ms, found, wished, "decode_64, ms", "bits per byte").to_json()
    for text in ("front of the law", "decode_64, ms", "bits per byte"):
        assert text in page


def lines(path: Path, networks: list[Architecture], **changes: Any) -> Path:
    path.write_text(
        "".join(
            json.dumps(
                {"values": network.values, "tokens": 1e6, "alone": {"bits_per_byte": 2 + 0.1 * number}, **changes}
            )
            + "\n"
            for number, network in enumerate(networks)
        )
    )
    return path


def test_rows_of_networks_trained_alone_are_read(space: SearchSpace, tmp_path: Path) -> None:
    networks = space.sample(12, seed=0)
    found = trained_alone(space, lines(tmp_path / "alone.jsonl", networks), "bits_per_byte")
    np.testing.assert_array_equal(found.codes, space.codes(networks))
    np.testing.assert_allclose(found.loss, 2 + 0.1 * np.arange(12))
    assert set(found.shapes.sizes["tokens"].tolist()) == {1e6}


@pytest.mark.parametrize(
    ("networks", "changes", "message"),
    [
        (9, {}, "a law needs ten trainings or more, there are 9"),
        (0, {}, "there are 0"),
        (12, {"values": {"depth": 2}}, "has no value for"),
        (12, {"alone": {"recall": 1}}, "KeyError"),
        (12, {"tokens": None}, "cannot be read"),
    ],
)
def test_wrong_rows_are_refused(
    space: SearchSpace, tmp_path: Path, networks: int, changes: dict[str, Any], message: str
) -> None:
    file = lines(tmp_path / "alone.jsonl", space.sample(networks, seed=0), **changes)
    with pytest.raises(UsageError, match=message):
        trained_alone(space, file, "bits_per_byte")
    with pytest.raises(UsageError, match="cannot be read"):
        trained_alone(space, tmp_path / "none.jsonl", "bits_per_byte")
    with pytest.raises(UsageError, match="ten trainings"):
        trainings(space, [], [], [])
