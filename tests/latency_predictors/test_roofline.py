from __future__ import annotations

import pytest

from nas.testing.predictors import LatencyPredictorContract
from search_spaces import SearchSpace


class TestRoofline(LatencyPredictorContract):
    predictor = "roofline"

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, convnet: SearchSpace) -> SearchSpace:
        return convnet
