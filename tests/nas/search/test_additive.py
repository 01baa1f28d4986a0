"""Sums over slots and choices: found exactly where the truth is one, refused where it is none."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from additive_truths import choice_truth, slot_truth
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV

import search_spaces
from latency_predictors import get
from nas.search.additive import (
    Additive,
    NotAdditive,
    additive_scores,
    choice_places,
    decompose,
    fitted_scores,
    slot_places,
)
from nas.search.additive.scores import PENALTIES, replacements
from nas.search.feasibility import all_codes
from search_spaces import Architecture, Choice, SearchSpace, Slot
from search_spaces.space import Codes

#: Small enough that their slots are traced in a second or two.
OPTIONS = {
    "accel-nasbench": {},
    "convnet": {"resolutions": [16, 24], "widths": [[16, 24], [32, 48]], "strides": [1, 2], "depths": [[1, 2], [1, 2]]},
    "efficient-hybrid": {
        "preset": "small-images", "stem_strides": [2], "widths": [[16, 24], [32]], "strides": [1, 2],
        "depths": [[0, 1], [1]], "first_kinds": [["fused"], ["fused"]],
        "kinds": [["conv_ffn", "fused"], ["single_head_attention", "state_mixer"]],
    },
    "efficientnet-lite": {"resolutions": [128, 160]},
    "fbnet": {"depths": [1, 1, 2, 1, 1, 1, 1]},
    "fbnet-imagenet": {"depths": [1, 1, 2, 1, 1, 1, 1]},
    "hat": {"decoder_layers": [1, 2, 3]},
    "hybrid-slm": {
        "vocabulary": 20, "prefill": [6], "decode": [4, 9], "widths": [8, 12], "depths": [1, 2], "heads": 2, "kv_heads": [1, 2],
        "mixers": ["skip", "short_convolution", "retnet", "sliding_window", "attention"], "windows": [4], "states": [2],
        "ratios": [1, 2],
    },
    "mnasnet": {"filters": [[16, 24], [32]], "strides": [1, 2], "depths": [[1, 2], [1, 2]]},
    "mobilenetv2": {"resolutions": [128, 160], "width_multipliers": [0.5, 1.0], "kernels": [3, 5]},
    "mobilenetv3": {"resolutions": [128, 160]},
    "mobilenetv3-large": {"resolutions": [128, 160], "width_multipliers": [1.0]},
    "mobilenetv3-small": {"resolutions": [128, 160]},
    "nasbench201": {"cells": 1},
    "ofa-mobilenetv3": {"resolutions": [128, 160], "depths": [1, 2]},
    "ofa-proxyless": {"resolutions": [128, 160], "depths": [1, 2]},
    "ofa-resnet50": {"resolutions": [128, 160], "depths": [0, 1]},
    "proxylessnas": {"depths": [2, 1, 1, 1, 2, 1]},
    "vit": {"resolutions": [32], "patches": [8, 16], "widths": [32, 64], "depths": [1, 2], "heads": [1, 2], "ratios": [1, 2]},
}  # fmt: skip


@pytest.mark.parametrize("name", search_spaces.names())
def test_costs_of_workloads_are_found_exactly_in_every_space(name: str) -> None:
    space = search_spaces.get(name, **OPTIONS[name])
    codes = space.random_codes(2000, np.random.default_rng(5))
    for phase in space.phases:
        for truth in (lambda some, p=phase: space.macs(some, p), lambda some, p=phase: space.parameters(some, p)):
            np.testing.assert_allclose(decompose(space, truth)(codes), truth(codes), rtol=1e-10)


def test_a_predictor_that_adds_up_is_found_exactly(small: SearchSpace) -> None:
    known = small.random_codes(20, np.random.default_rng(0))
    predictor = get("nonnegative")(small)
    predictor.calibrate(known, 0.1 + small.macs(known) / 1e6)
    codes = small.random_codes(500, np.random.default_rng(1))
    for part in ("mean_ms", "high_ms"):
        found = decompose(small, lambda some, p=part: getattr(predictor.predict(some), p))
        np.testing.assert_allclose(found(codes), getattr(predictor.predict(codes), part), rtol=1e-9)


def test_a_table_of_blocks_is_found_exactly(small: SearchSpace) -> None:
    predictor = get("lookup_table")(small)
    rng = np.random.default_rng(0)
    predictor.measure_parts(lambda workloads: rng.uniform(0.1, 1.0, len(workloads)))
    known = small.random_codes(8, rng)
    predictor.calibrate(known, rng.uniform(1.0, 2.0, 8))
    codes = small.random_codes(500, np.random.default_rng(1))
    found = decompose(small, lambda some: predictor.predict(some).mean_ms)
    np.testing.assert_allclose(found(codes), predictor.predict(codes).mean_ms, rtol=1e-9)


@pytest.mark.parametrize("name", ["hat", "nasbench201"])
def test_given_numbers_of_variants_are_summed(name: str) -> None:
    """Against a sum over the slots of each network, one by one."""
    space = search_spaces.get(name, **OPTIONS[name])
    phase, rng = space.phases[-1], np.random.default_rng(0)
    places = slot_places(space, phase)
    values = [rng.normal(size=place.count) for place in places]
    found = Additive.over(space, places, values, 2.0)
    codes = space.random_codes(50, rng)
    for row, total in zip(codes, found(codes), strict=True):
        numbers = [place.variants[tuple(row[list(place.columns)])] for place in places]
        expected = 2.0 + sum(some[number] for some, number in zip(values, numbers, strict=True) if number >= 0)
        assert total == pytest.approx(expected)
    for wrong in (values[:-1], [*values[:-1], values[-1][1:]], [*values[:-1], values[-1] * np.nan]):
        with pytest.raises(ValueError, match=r"finite numbers|shorter"):
            Additive.over(space, places, wrong)


def test_what_is_no_sum_is_refused(small: SearchSpace) -> None:
    with pytest.raises(NotAdditive, match="not a sum over the slots"):
        decompose(small, lambda codes: np.sqrt(small.macs(codes)))


def test_not_a_number_is_refused(small: SearchSpace) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        decompose(small, lambda codes: np.where(codes[:, 1] == 1, np.nan, small.macs(codes)))


def test_too_many_variants_are_named() -> None:
    choices = tuple(Choice(f"c{i}", tuple(range(30))) for i in range(3))
    space = SearchSpace("wide", choices, (Slot("block", ("c0", "c1", "c2"), lambda values, phase: None),))
    with pytest.raises(ValueError, match=r"27,000 combinations of c0, c1, c2.*fewer options"):
        decompose(space, lambda codes: codes.sum(axis=1).astype(float))
    with pytest.raises(ValueError, match="slot 'block' of space 'wide'"):
        slot_places(space)


def test_three_slots_that_share_a_choice_count_it_once() -> None:
    """Four slots of which any two share choices, so that what pairs share overlaps as well."""
    choices = tuple(Choice(name, (0, 1, 2)) for name in "abcde")
    sets = ("abc", "abd", "ace", "ade")
    space = SearchSpace("star", choices, tuple(Slot(s, tuple(s), lambda values, phase: None) for s in sets))
    rng = np.random.default_rng(3)
    tables = [(["abcde".index(letter) for letter in letters], rng.normal(size=(3, 3, 3))) for letters in sets]

    def truth(codes: Codes) -> NDArray[np.float64]:
        return sum(table[tuple(codes[:, column] for column in columns)] for columns, table in tables)

    codes = all_codes(space)
    np.testing.assert_allclose(decompose(space, truth)(codes), truth(codes), atol=1e-11)


@pytest.mark.parametrize("base", ["smallest", "largest", "middle"])
def test_additive_truth_is_recovered_from_any_base(small: SearchSpace, base: str) -> None:
    truth = choice_truth(small, 0)
    asked: list[Architecture] = []

    def evaluate(architecture: Architecture) -> float:
        asked.append(architecture)
        return float(truth(small.codes([architecture]))[0])

    middle = small.sample(1, 4)[0]
    network = {"smallest": small.smallest(), "largest": small.largest(), "middle": middle}[base]
    found = additive_scores(small, evaluate, network)
    codes = small.random_codes(5000, np.random.default_rng(2))
    np.testing.assert_allclose(found(codes), truth(codes), atol=1e-10)
    assert len(set(asked)) == len(asked) == len(replacements(small, network))
    assert len(asked) <= 1 + sum(len(choice.options) - 1 for choice in small.choices)


def test_one_choice_at_a_time_misses_what_is_no_sum(small: SearchSpace) -> None:
    scores = additive_scores(small, lambda network: float(np.sqrt(_macs(small, network))), small.largest())
    codes = small.random_codes(500, np.random.default_rng(2))
    assert np.abs(scores(codes) / np.sqrt(small.macs(codes)) - 1).max() > 0.05


def _macs(space: SearchSpace, network: Architecture) -> float:
    return float(space.macs(space.codes([network]))[0])


def test_a_fit_recovers_an_additive_truth(small: SearchSpace) -> None:
    truth = choice_truth(small, 1)
    codes = small.random_codes(400, np.random.default_rng(0))
    found = fitted_scores(small, codes, truth(codes), choice_places(small))
    others = small.random_codes(1000, np.random.default_rng(1))
    np.testing.assert_allclose(found(others), truth(others), atol=1e-4 * np.ptp(truth(others)))


def one_hot(space: SearchSpace, codes: Codes) -> NDArray[np.float64]:
    """A column for each option of each choice, made here."""
    active = space.active(codes)
    pairs = [(c, option) for c, choice in enumerate(space.choices) for option in range(len(choice.options))]
    return np.stack([(codes[:, c] == option) & active[:, c] for c, option in pairs], axis=1).astype(float)


def test_a_fit_is_that_of_scikit_learn(small: SearchSpace) -> None:
    """Same penalty from the same candidates by the same criterion."""
    rng = np.random.default_rng(7)
    codes = small.random_codes(80, rng)
    values = choice_truth(small, 1)(codes) + rng.normal(size=80)
    inputs = one_hot(small, codes)
    largest = np.linalg.svd(inputs - inputs.mean(axis=0), compute_uv=False)[0] ** 2
    theirs = RidgeCV(alphas=PENALTIES * largest).fit(inputs, values)
    found = fitted_scores(small, codes, values, choice_places(small))
    np.testing.assert_allclose(found(codes), theirs.predict(inputs), rtol=1e-6)


def test_a_weighted_fit_is_that_of_scikit_learn(small: SearchSpace) -> None:
    """At one of the penalties; another one than without weights."""
    rng = np.random.default_rng(7)
    codes = small.random_codes(80, rng)
    values = choice_truth(small, 1)(codes) + rng.normal(size=80)
    inputs, weights = one_hot(small, codes), rng.uniform(0.1, 5, size=80)
    found = fitted_scores(small, codes, values, choice_places(small), weights)(codes)
    scaled = weights * 80 / weights.sum()
    centred = np.sqrt(scaled)[:, None] * (inputs - scaled @ inputs / 80)
    largest = np.linalg.svd(centred, compute_uv=False)[0] ** 2
    misses = [
        np.abs(Ridge(alpha=alpha).fit(inputs, values, sample_weight=scaled).predict(inputs) - found).max()
        for alpha in PENALTIES * largest
    ]
    assert min(misses) < 1e-6
    assert np.abs(fitted_scores(small, codes, values, choice_places(small))(codes) - found).max() > 0.01


def test_slots_explain_what_choices_alone_do_not(small: SearchSpace) -> None:
    truth = slot_truth(small, 3)
    codes = small.random_codes(3000, np.random.default_rng(0))
    others = small.random_codes(1000, np.random.default_rng(1))
    errors = [
        np.std(fitted_scores(small, codes, truth(codes), places)(others) - truth(others)) / truth(others).std()
        for places in (choice_places(small), slot_places(small))
    ]
    assert errors[0] > 0.2
    assert errors[1] < 0.02


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0, 2.0], "3 networks or more"), ([1.0] * 9, "a value of each"), ([1.0, np.nan] * 5, "finite")],
)
def test_fits_refuse_bad_values(small: SearchSpace, values: list[float], message: str) -> None:
    codes = small.random_codes(2 if len(values) == 2 else 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        fitted_scores(small, codes, np.array(values), choice_places(small))


def test_variants_of_slots_are_those_of_the_space(small: SearchSpace) -> None:
    """Networks agree in a place's variant exactly when the variants of its slots are equal."""
    codes = small.random_codes(60, np.random.default_rng(0))
    variants = [small.variants(network) for network in small.architectures(codes)]
    places = slot_places(small)
    assert sum(prod(place.variants.shape) for place in places) > 100
    for place in places:
        depending = [s.name for s in small.slots if {small.choices[c].name for c in place.columns} == set(s.choices)]
        numbers = place.variants[tuple(codes[:, column] for column in place.columns)]
        found = [tuple(of.get(name) for name in depending) for of in variants]
        for one in range(len(codes)):
            for two in range(one):
                assert (numbers[one] == numbers[two]) == (found[one] == found[two])
