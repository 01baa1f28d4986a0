"""The table of the networks that `experiments.hybrid_slm` trains alone."""

from __future__ import annotations

from experiments.hybrid_slm.baselines import table


def test_means_and_spreads_stand_beside_the_shortest_times_of_one_device() -> None:
    alone = [
        {
            "network": "a@1",
            "parameters_m": 1.25,
            "alone": {"bits_per_byte": bits, "recall": recall},
            "inherited": {"bits_per_byte": 1.5, "recall": 0.75},
        }
        for bits, recall in ((1.0, 0.25), (3.0, 0.5))
    ]
    times = [
        {"network": "b@1", "prefill_8_ms.here": 21.64, "decode_8_ms.here": 0.1234, "decode_8_ms.there": 9.0},
        {"network": "a@1", "prefill_8_ms.here": 2.0, "decode_8_ms.here": 0.75, "decode_8_ms.there": 9.0},
        {"network": "a@1", "prefill_8_ms.here": 4.0, "decode_8_ms.here": 0.5, "decode_8_ms.there": 9.0},
    ]
    head, _, *lines = table(alone, times, "here").splitlines()
    assert head.endswith("| prefill_8 | decode_8 |")
    assert lines == [
        "| b@1 |  | 0 |  |  |  |  | 21.6 | 0.123 |",
        "| a@1 | 1.25 | 2 | 2.000 ± 1.414 | 25, 50 | 1.500 | 75 | 2 | 0.5 |",
    ]
