"""The contract of a search space, for language models at small configurations."""

from __future__ import annotations

import pytest

import search_spaces
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace


class TestLanguageModelsOfAllMixers(SearchSpaceContract):
    """Elastic width, meta tokens, heads, windows and states; a prompt that fills no chunk, a context shorter and
    longer than windows; one table for embedding and head."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "hybrid-slm",
            vocabulary=20,
            prefill=(11,),
            decode=(19,),
            widths=(8, 16),
            depths=(1, 2),
            heads=4,
            head_width=2,
            kv_heads=(1, 2, 4),
            windows=(4, 32),
            states=(2, 3),
            ratios=(1, 1.5),
            meta_tokens=(0, 3),
            chunk=4,
        )


class TestLanguageModelsWithoutTies(SearchSpaceContract):
    """Layers of a mixer alone, a head with a weight of its own."""

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "hybrid-slm",
            vocabulary=20,
            prefill=(6,),
            decode=(4,),
            widths=(8,),
            depths=(1, 2),
            mixers=("attention", "short_convolution"),
            heads=2,
            kv_heads=(1, 2),
            ratios=(0, 2),
            tied=False,
        )
