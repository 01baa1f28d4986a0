"""The study on disk: refused when it is another one, mended when a writer was killed."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from synthetic_search import fork, kill, make_worker, trial_table, wait_until

from nas.errors import UsageError
from nas.search.journal import JournalStore, KernelLock, cut_unfinished_line
from nas.search.metrics import ACCURACY, Metric
from nas.search.storage import create_or_load, load
from search_spaces import SearchSpace

MACS = Metric("macs_m", "minimize", "M")
OTHER = Metric("memory_mb", "minimize", "MB")


def create(journal: Path, identity: dict[str, object], *objectives: Metric) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(0)
    return create_or_load(JournalStore(journal), "study", list(objectives) or [ACCURACY, MACS], dict(identity), sampler)


def test_the_same_study_is_loaded(tmp_path: Path) -> None:
    identity: dict[str, object] = {"seed": 0, "limits": ["macs_m <= 5"], "options": {"a": [1, 2.5]}}
    create(tmp_path / "j", identity).add_trial(optuna.create_trial(values=[0.5, 1.0]))
    again = create(tmp_path / "j", identity)
    assert [trial.values for trial in again.trials] == [[0.5, 1.0]]
    assert again.metric_names == ["accuracy", "macs_m"]
    assert [direction.name for direction in again.directions] == ["MAXIMIZE", "MINIMIZE"]


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("limits", []), ("space", "other"), ("new", True)])
def test_another_identity_is_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    identity: dict[str, object] = {"seed": 0, "limits": ["macs_m <= 5"], "space": "convnet"}
    create(tmp_path / "j", identity)
    with pytest.raises(UsageError) as caught:
        create(tmp_path / "j", identity | {key: value})
    message = str(caught.value)
    assert f"another {key}: {identity.get(key)!r}, now {value!r}" in message
    assert str(tmp_path / "j") in message


@pytest.mark.parametrize("objectives", [(ACCURACY, OTHER), (ACCURACY, MACS, OTHER)])
def test_a_refused_study_is_left_as_it_was(tmp_path: Path, objectives: tuple[Metric, ...]) -> None:
    create(tmp_path / "j", {"objectives": ["accuracy", "macs_m"]})
    before = (tmp_path / "j").read_bytes().splitlines()
    with pytest.raises(UsageError, match="another objectives"):
        create(tmp_path / "j", {"objectives": [m.name for m in objectives]}, *objectives)
    assert load(JournalStore(tmp_path / "j")).metric_names == ["accuracy", "macs_m"]
    changes = [line for line in (tmp_path / "j").read_bytes().splitlines() if line not in before]
    assert all(b'"op_code":0' in line for line in changes)  # at most the attempt to create what exists


def test_missing_and_damaged_journals_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no search was started"):
        load(JournalStore(tmp_path / "j"))
    create(tmp_path / "j", {"seed": 0})
    good = (tmp_path / "j").read_bytes()
    for bad in (b"\x00\x01\x02\n", b"not json\n", b"[1, 2]\n", b"{}\n", b"\xff\xfe\n"):
        for content in (bad + good, good + bad + good[: good.index(b"\n") + 1]):
            (tmp_path / "damaged").write_bytes(content)
            with pytest.raises(UsageError, match="damaged"):
                load(JournalStore(tmp_path / "damaged"))


@pytest.mark.parametrize("torn", [b"{", b'{"op_code":4,"worker_id":"x","study', b"\x00" * 300, b"y" * 200_000])
def test_a_torn_last_line_costs_no_finished_trial(tmp_path: Path, tiny: SearchSpace, torn: bytes) -> None:
    worker = make_worker(tmp_path, tiny)
    worker.run(3)
    before = trial_table(worker.study)
    with (tmp_path / "study.journal").open("ab") as file:
        file.write(torn)
    again = make_worker(tmp_path, tiny)
    assert trial_table(again.study) == before
    again.run(5)
    finished = load(JournalStore(tmp_path / "study.journal")).get_trials(states=[TrialState.COMPLETE])
    assert [trial.number for trial in finished] == list(range(5))


def test_a_line_torn_while_the_study_is_open_is_mended_too(tmp_path: Path, tiny: SearchSpace) -> None:
    worker = make_worker(tmp_path, tiny)
    worker.run(2)
    with (tmp_path / "study.journal").open("ab") as file:
        file.write(b'{"op_code":')
    worker.run(4)
    assert trial_table(load(JournalStore(tmp_path / "study.journal"))) == trial_table(worker.study)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(lines=st.lists(st.binary(max_size=30)), pad=st.sampled_from([0, 1, 65534, 65535, 65536, 65537, 131072]))
def test_cutting_leaves_whole_lines(tmp_path: Path, lines: list[bytes], pad: int) -> None:
    content = b"\n".join(lines) + b"z" * pad
    (tmp_path / "lines").write_bytes(content)
    cut_unfinished_line(tmp_path / "lines")
    whole, end, _ = content.rpartition(b"\n")
    assert (tmp_path / "lines").read_bytes() == whole + end


def test_lock_is_exclusive_and_freed_by_sigkill(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    journal.touch()

    def hold() -> None:
        KernelLock(journal).acquire()
        (tmp_path / "held").touch()
        time.sleep(60)

    process = fork(hold)
    wait_until((tmp_path / "held").exists)
    descriptor = os.open(tmp_path / "j.lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    kill(process)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    lock = KernelLock(journal)
    assert lock.acquire()
    lock.release()
