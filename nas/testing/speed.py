"""How fast the core is that a test runs on, for limits in seconds that hold on slow and busy machines too."""

from __future__ import annotations

from time import thread_time

import numpy as np
from threadpoolctl import threadpool_limits

#: What `_work` takes on the core that limits are stated for: of an AMD EPYC of 2021 (Zen 3), with nothing else to do.
REFERENCE_SECONDS = 0.029


def slowdown() -> float:
    """How many times as long as on the reference core computing takes here and now; 1 where it takes less."""
    seconds = []
    with threadpool_limits(1):
        for _ in range(5):
            started = thread_time()
            _work()
            seconds.append(thread_time() - started)
    return max(1.0, min(seconds) / REFERENCE_SECONDS)


def _work() -> float:
    """Of all kinds: products of matrices, tables looked up, Python."""
    rng = np.random.default_rng(0)
    matrix, table = rng.random((384, 384)), rng.random((2048, 256))
    product = sum(float((matrix @ matrix)[0, 0]) for _ in range(4))
    looked_up = sum(float(table[rng.integers(0, len(table), 4096)].max()) for _ in range(4))
    counts: dict[int, int] = {}
    for number in range(100_000):
        counts[number % 97] = counts.get(number % 97, 0) + number
    return product + looked_up + sum(counts.values())
