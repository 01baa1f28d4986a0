"""Choices, codes, sizes: against brute force, published figures and the statistics of draws."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import search_spaces
from search_spaces import Architecture, Choice, SearchSpace, Slot
from search_spaces.space import Codes

CONVNET = search_spaces.get("convnet")


def all_codes(space: SearchSpace) -> Codes:
    """The full product of the options, canonical or not."""
    return np.array(list(product(*(range(len(choice.options)) for choice in space.choices))))


@pytest.mark.parametrize("name", ["small_mobilenetv3", "small_convnet"])
class TestSmallSpaces:
    @pytest.fixture
    @staticmethod
    def space(name: str, request: pytest.FixtureRequest) -> SearchSpace:
        space: SearchSpace = request.getfixturevalue(name)
        return space

    def test_size_is_the_number_of_distinct_keys(self, space: SearchSpace) -> None:
        codes = all_codes(space)
        keys = {architecture.key for architecture in space.architectures(codes)}
        assert space.size == len(keys) < len(codes)

    def test_size_is_the_number_of_distinct_networks(self, space: SearchSpace) -> None:
        architectures = space.architectures(np.unique(space.canonical(all_codes(space)), axis=0))
        networks = {tuple(space.variants(architecture).items()) for architecture in architectures}
        assert len(networks) == space.size

    def test_a_sample_of_all_holds_each_one(self, space: SearchSpace) -> None:
        assert len({architecture.key for architecture in space.sample(space.size, seed=5)}) == space.size


def test_size_of_once_for_all_is_the_published_one() -> None:
    space = search_spaces.get("mobilenetv3", resolutions=(224,))
    assert space.size == (9**2 + 9**3 + 9**4) ** 5
    assert f"{space.size:.1e}" == "2.2e+19"
    assert search_spaces.get("mobilenetv3").size == 25 * space.size


def test_size_counts_requirements_of_requirements() -> None:
    choices = (
        Choice("a", (0, 1)),
        Choice("b", (0, 1, 2), ("a", (1,))),
        Choice("c", (0, 1), ("b", (1, 2))),
        Choice("never", (0, 1), ("a", ())),
    )
    space = SearchSpace("s", choices, ())
    assert space.size == 1 + (1 + 2 + 2) == len(np.unique(space.canonical(all_codes(space)), axis=0))


# ----------------------------------------------------------------------------------------------------------- codes

rows = st.tuples(*(st.integers(0, len(choice.options) - 1) for choice in CONVNET.choices))


@given(st.lists(rows, max_size=4))
def test_codes_survive_architectures_and_json(drawn: list[tuple[int, ...]]) -> None:
    codes = np.array(drawn, dtype=np.int64).reshape(-1, len(CONVNET.choices))
    canonical = CONVNET.canonical(codes)
    architectures = [Architecture.from_json(a.to_json()) for a in CONVNET.architectures(codes)]
    np.testing.assert_array_equal(CONVNET.codes(architectures), canonical)
    np.testing.assert_array_equal(CONVNET.canonical(canonical), canonical)


@given(rows)
def test_a_choice_is_active_when_all_that_it_requires_is_chosen(row: tuple[int, ...]) -> None:
    choices = {choice.name: choice for choice in CONVNET.choices}
    chosen = {choice.name: choice.options[index] for choice, index in zip(CONVNET.choices, row, strict=True)}

    def needed(name: str) -> bool:
        requires = choices[name].requires
        return requires is None or (chosen[requires[0]] in requires[1] and needed(requires[0]))

    assert CONVNET.active(np.array([row]))[0].tolist() == [needed(name) for name in choices]


@given(rows)
def test_rows_with_the_same_canonical_code_have_the_same_key(row: tuple[int, ...]) -> None:
    codes = np.array([row])
    scrambled = np.where(CONVNET.active(codes), codes, [[len(c.options) - 1 for c in CONVNET.choices]])
    a, b = CONVNET.architectures(codes)[0], CONVNET.architectures(scrambled)[0]
    assert a == b
    assert hash(a) == hash(b)
    assert a.key == b.key


def test_codes_ignore_the_order_of_the_values() -> None:
    architecture = CONVNET.sample(1, seed=0)[0]
    turned = Architecture("convnet", architecture.items[::-1])
    np.testing.assert_array_equal(CONVNET.codes([turned]), CONVNET.codes([architecture]))


def test_empty_matrices_are_fine() -> None:
    none = np.empty((0, len(CONVNET.choices)), dtype=np.int64)
    assert CONVNET.architectures(none) == []
    assert CONVNET.codes([]).shape == none.shape
    assert CONVNET.features(none).shape == (0, len(CONVNET.feature_names()))
    assert CONVNET.sample(0, seed=0) == []


# --------------------------------------------------------------------------------------------------------- drawing


def test_choices_that_come_into_effect_are_drawn_uniformly() -> None:
    space = search_spaces.get("mobilenetv3", resolutions=(32,))
    columns = {choice.name: column for column, choice in enumerate(space.choices)}
    depth, kernel = columns["unit1_depth"], columns["unit1_block4_kernel"]
    smallest = np.repeat(space.codes([space.smallest()]), 6_000, axis=0)
    children = space.mutate(smallest, 0.3, np.random.default_rng(0))
    deep = children[children[:, depth] == 2]
    counts = np.bincount(deep[:, kernel], minlength=3)
    # 600 children are expected to have become deep; three standard deviations of a third of them are 35.
    assert len(deep) == pytest.approx(600, abs=80)
    np.testing.assert_allclose(counts, len(deep) / 3, atol=35)


def test_mutation_redraws_at_its_rate() -> None:
    largest = np.repeat(CONVNET.codes([CONVNET.largest()]), 10_000, axis=0)
    children = CONVNET.mutate(largest, 0.3, np.random.default_rng(0))
    resolution = len(CONVNET.choices[0].options)
    changed = (children[:, 0] != largest[:, 0]).mean()
    assert changed == pytest.approx(0.3 * (1 - 1 / resolution), abs=0.02)


def test_crossover_takes_choices_from_the_parent_in_which_they_have_an_effect() -> None:
    space = search_spaces.get("mobilenetv3", resolutions=(32,))
    columns = {choice.name: column for column, choice in enumerate(space.choices)}
    depth, kernel = columns["unit1_depth"], columns["unit1_block4_kernel"]
    shallow = np.repeat(space.codes([space.smallest()]), 200, axis=0)
    deep = np.repeat(space.codes([space.largest()]), 200, axis=0)
    children = space.crossover(shallow, deep, np.random.default_rng(0))
    became_deep = children[:, depth] == 2
    assert 60 < became_deep.sum() < 140
    assert (children[became_deep, kernel] == 2).all()
    with pytest.raises(ValueError, match="same shape"):
        space.crossover(shallow, deep[:3], np.random.default_rng(0))


def test_random_codes_are_uniform_over_options() -> None:
    codes = CONVNET.random_codes(9_000, np.random.default_rng(0))
    width = next(column for column, choice in enumerate(CONVNET.choices) if choice.name == "stage2_depth")
    np.testing.assert_allclose(np.bincount(codes[:, width]), 3_000, atol=150)


# ---------------------------------------------------------------------------------------------------------- errors


def change(architecture: Architecture, **values: object) -> Architecture:
    return Architecture(architecture.space, tuple({**architecture.values, **values}.items()))  # type: ignore[arg-type]


class TestArchitectureErrors:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "not JSON"),
            ("", "not JSON"),
            ("[]", "expected a JSON object"),
            ('{"space": "s", "values": {}}', "version, space and values"),
            ('{"version": 2, "space": "s", "values": {}}', "version 2, this release reads version 1"),
            ('{"version": 1, "values": {}}', "'space' must be a name"),
            ('{"version": 1, "space": "s"}', "'values' an object"),
            ('{"version": 1, "space": "s", "values": [1]}', "'values' an object"),
            ('{"version": 1, "space": "s", "values": {"depth": true}}', "the value of 'depth' is True"),
            ('{"version": 1, "space": "s", "values": {"depth": [1]}}', r"the value of 'depth' is \[1\]"),
            ('{"version": 1, "space": "s", "values": {"depth": null}}', "the value of 'depth' is None"),
        ],
    )
    def test_text_that_is_no_architecture(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Architecture.from_json(text)

    def test_unknown_choice_names_the_nearest(self) -> None:
        wrong = change(CONVNET.smallest(), stage1_dept=1)
        with pytest.raises(ValueError, match=r"no choice 'stage1_dept' \(did you mean 'stage1_depth'\?\)"):
            CONVNET.codes([wrong])

    def test_unknown_value_names_the_options(self) -> None:
        wrong = change(CONVNET.smallest(), stage1_depth=7)
        with pytest.raises(ValueError, match="'stage1_depth' has no option 7; it takes 1, 2"):
            CONVNET.codes([wrong])

    def test_text_is_not_a_number(self) -> None:
        wrong = change(CONVNET.smallest(), stage1_depth="1")
        with pytest.raises(ValueError, match="has no option '1'"):
            CONVNET.codes([wrong])

    def test_missing_values_are_named(self) -> None:
        items = tuple(item for item in CONVNET.smallest().items if item[0] not in ("resolution", "stage2_width"))
        with pytest.raises(ValueError, match="no value for resolution, stage2_width"):
            CONVNET.codes([Architecture("convnet", items)])

    def test_another_space(self) -> None:
        with pytest.raises(ValueError, match="belongs to space 'mobilenetv3', not to 'convnet'"):
            CONVNET.codes([Architecture("mobilenetv3", CONVNET.smallest().items)])


class TestDefinitionErrors:
    def test_choices_of_the_same_name(self) -> None:
        with pytest.raises(ValueError, match="two choices of the same name"):
            SearchSpace("s", (Choice("a", (1,)), Choice("a", (2,))), ())

    @pytest.mark.parametrize("options", [(), (1, 2, 1)])
    def test_options_that_are_none_or_repeat(self, options: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="choice 'a' needs at least one option and no repeats"):
            Choice("a", options)

    @pytest.mark.parametrize("required", ["b", "later", "nowhere"])
    def test_requirements_that_do_not_come_before(self, required: str) -> None:
        with pytest.raises(ValueError, match=f"'b' must come after '{required}'"):
            SearchSpace("s", (Choice("b", (1, 2), (required, (1,))), Choice("later", (1, 2))), ())

    def test_slots(self) -> None:
        with pytest.raises(ValueError, match="slot 'stem' depends on an unknown choice 'a'"):
            SearchSpace("s", (), (Slot("stem", ("a",), lambda values, phase: None),))
        with pytest.raises(ValueError, match="two slots of the same name"):
            SearchSpace("s", (), (Slot("stem", (), lambda values, phase: None),) * 2)


def test_fingerprint_tells_spaces_apart() -> None:
    same = search_spaces.get("convnet", resolutions=[24, 32])
    other = search_spaces.get("convnet", resolutions=[24, 40])
    head = search_spaces.get("convnet", head=128)  # no choice differs, but the networks do
    assert same.fingerprint == CONVNET.fingerprint
    assert len({CONVNET.fingerprint, other.fingerprint, head.fingerprint}) == 3


def test_repr_is_short() -> None:
    assert repr(search_spaces.get("mobilenetv3")) == "<search space mobilenetv3: 46 choices, 5.44e+20 architectures>"
