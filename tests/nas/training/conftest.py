from __future__ import annotations

import pytest
from digits_training import small_space

from nas.tasks import ImageClassification
from search_spaces import SearchSpace


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return small_space()


@pytest.fixture(scope="session")
def task() -> ImageClassification:
    return ImageClassification.load("digits")
