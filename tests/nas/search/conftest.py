from __future__ import annotations

import pytest
from synthetic_search import small_space, tiny_space

from search_spaces import SearchSpace


@pytest.fixture(scope="session")
def small() -> SearchSpace:
    return small_space()


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    return tiny_space()
