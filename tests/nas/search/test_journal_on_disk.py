"""When the journal is brought to the disk: once for each thing that is done exclusively, and only when it grew."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.search.journal import JournalStore


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of what was brought to the disk."""
    seen: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        seen.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    return seen


def test_many_entries_are_synced_once_and_none_not_at_all(tmp_path: Path, synced: list[str]) -> None:
    store = JournalStore(tmp_path / "study.journal")
    study = optuna.create_study(storage=store.open(), study_name="study")

    def write() -> None:
        trial = study.ask()
        for number in range(5):
            trial.set_user_attr(str(number), number)
        study.tell(trial, 1.0)

    with store.lease("study") as lease:
        synced.clear()
        lease.exclusively(write)
        assert synced == [str(tmp_path / "study.journal")]
        lease.exclusively(lambda: study.get_trials())
        assert len(synced) == 1


def test_what_is_written_is_read_by_others_at_once(tmp_path: Path) -> None:
    """Also by Optuna's own backend, as every public tool uses it."""
    study = optuna.create_study(storage=JournalStore(tmp_path / "study.journal").open(), study_name="study")
    study.tell(study.ask(), 2.0)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    other = optuna.load_study(storage=optuna.storages.JournalStorage(backend), study_name="study")
    assert [(trial.state, trial.value) for trial in other.trials] == [(TrialState.COMPLETE, 2.0)]
