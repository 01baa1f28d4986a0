"""What becomes of the words of the training processes; `torchrun` is a script that says them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.training.launch import train_in_processes

Saying = Callable[..., None]


@pytest.fixture
def saying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saying:
    """Lets `torchrun` print lines and a log, and end with a code."""

    def saying(lines: str, log: str = "", code: int = 0) -> None:
        script = tmp_path / "python"
        words = f'echo "$@" "$OMP_NUM_THREADS" > {tmp_path / "arguments"}'
        script.write_text(f"#!/bin/sh\n{words}\ncat <<'END'\n{lines}\nEND\ncat >&2 <<'END'\n{log}\nEND\nexit {code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    return saying


def train(tmp_path: Path) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    train_in_processes(tmp_path / "run", 3, 7, lambda done, total: steps.append((done, total)))
    return steps


def test_steps_are_told_and_other_words_are_not(saying: Saying, tmp_path: Path) -> None:
    saying('[Gloo] Rank 0 is connected\n{"done": 1, "total": 2}\n5\n"text"\n{"done": 2, "total": 2}\n[1, 2]', "warning")
    assert train(tmp_path) == [(1, 2), (2, 2)]
    assert (tmp_path / "arguments").read_text() == (
        "-m torch.distributed.run --standalone --nproc-per-node 3 "
        f"-m nas.training.worker {tmp_path / 'run'} --attended 2\n"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("UsageError", UsageError),
        ("DataError", UsageError),
        ("FloatingPointError", FloatingPointError),
        ("IndexError", RuntimeError),
    ],
)
def test_the_first_error_is_that_of_the_training(
    saying: Saying, tmp_path: Path, kind: str, expected: type[Exception]
) -> None:
    saying(
        f'{{"error": "{kind}", "message": "what is wrong"}}\n{{"error": "RuntimeError", "message": "connection closed"}}',
        "Signal 15 (SIGTERM) received by PID 12",
        1,
    )
    with pytest.raises(expected, match="what is wrong") as caught:
        train(tmp_path)
    assert type(caught.value) is expected


@pytest.mark.parametrize("lines", ["", '{"error": "RuntimeError", "message": "connection closed"}'])
def test_a_killed_process_is_not_mistaken_for_a_fault(saying: Saying, tmp_path: Path, lines: str) -> None:
    saying(lines, "Signal 15 (SIGTERM) received by PID 12\nSignal 9 (SIGKILL) received by PID 13", 1)
    with pytest.raises(
        ChildProcessError, match=r"was ended by Signal 9 \(SIGKILL\); the same command goes on"
    ) as caught:
        train(tmp_path)
    assert "received by PID 13" in caught.value.__notes__[0]


def test_an_end_without_a_word(saying: Saying, tmp_path: Path) -> None:
    saying("", "some trouble", 3)
    with pytest.raises(ChildProcessError, match="a training process was ended; "):
        train(tmp_path)
