"""Workers on a real PostgreSQL: nothing is lost, and nothing is in the record twice."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres_server import Postgres
from synthetic_search import fork, kill, make_worker, synthetic_accuracy, trial_table, wait_until

from nas.errors import UsageError
from nas.search.claims import WORKER
from nas.search.encoding import trial_codes
from nas.search.storage import load, make_store
from nas.search.store import StudyStore, new_worker
from nas.search.worker import Worker
from search_spaces import Architecture, SearchSpace


@pytest.fixture(autouse=True, scope="module")
def _computed_once(tmp_path_factory: pytest.TempPathFactory, tiny: SearchSpace) -> None:
    """What a space computes when it is first used, so that forked workers need not."""
    make_worker(tmp_path_factory.mktemp("first"), tiny, sampler="random", options={}).run(1)


def store_at(url: str) -> StudyStore:
    return make_store(url, Path("unused"))


def begin(url: str, space: SearchSpace, evaluate: Callable[[Architecture], float] | None = None) -> Worker:
    return make_worker(
        Path("unused"), space, evaluate=evaluate, sampler="random", options={"batch_size": 5}, store=store_at(url)
    )


def states(url: str) -> list[str]:
    """As the tables have them: to open a storage of Optuna's takes half a second."""
    import psycopg

    with psycopg.connect(url) as session:
        try:
            return [str(row[0]) for row in session.execute("SELECT state FROM trials ORDER BY number").fetchall()]
        except psycopg.errors.UndefinedTable:
            return []


def assert_complete(url: str, space: SearchSpace, count: int) -> None:
    """All are finished, with what their network has; none is there twice."""
    study, accuracy = load(store_at(url), "study"), synthetic_accuracy(space)
    trials = study.get_trials(deepcopy=False)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * count
    codes = [trial_codes(space, trial.params) for trial in trials]
    assert len({row.tobytes() for row in codes}) == count
    for trial, row in zip(trials, codes, strict=True):
        assert trial.values[0] == accuracy(space.architectures(row)[0])


@pytest.mark.parametrize("seed", range(2))
def test_two_of_four_workers_are_killed(url: str, tiny: SearchSpace, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)

    def slowly(architecture: Architecture) -> float:
        time.sleep(0.03)
        with (tmp_path / f"evaluated-{os.getpid()}").open("a") as file:
            file.write(architecture.key + "\n")
        return synthetic_accuracy(tiny)(architecture)

    workers = [fork(lambda: begin(url, tiny, slowly).run(10)) for _ in range(4)]  # they all make the study
    for done, victim in zip((1, 4), draw.sample(workers, 2), strict=True):
        wait_until(lambda done=done: states(url).count("COMPLETE") >= done)  # type: ignore[misc]
        time.sleep(draw.uniform(0, 0.1))
        kill(victim)
        workers.remove(victim)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert_complete(url, tiny, 10)
    evaluated = [key for file in tmp_path.iterdir() for key in file.read_text().split()]
    assert 10 <= len(evaluated) <= 12  # a killed worker may have come to the end of an evaluation before it told


def test_the_record_is_that_of_a_journal(url: str, tmp_path: Path, tiny: SearchSpace) -> None:
    begin(url, tiny).run(4)
    begin(url, tiny).run(8)
    journal = make_worker(tmp_path, tiny, sampler="random", options={"batch_size": 5})
    journal.run(8)
    assert trial_table(load(store_at(url), "study")) == trial_table(journal.study)


def test_lease_is_freed_by_sigkill_and_not_before(url: str, tmp_path: Path) -> None:
    def hold() -> None:
        with store_at(url).lease("study") as lease:
            (tmp_path / "held").write_text(lease.worker)
            (tmp_path / "ready").touch()
            lease.exclusively(lambda: time.sleep(60))

    process = fork(hold)
    wait_until((tmp_path / "ready").exists)
    worker = (tmp_path / "held").read_text()
    with store_at(url).lease("study") as lease, store_at(url).lease("other study") as other:
        assert lease.is_held(worker)
        assert not lease.is_held(new_worker())
        assert not other.is_held(worker)
        assert other.exclusively(lambda: 5) == 5  # it is another study's lock
        kill(process)
        assert lease.exclusively(lambda: 6) == 6
        assert not lease.is_held(worker)


@pytest.mark.filterwarnings("ignore:the connection to")
def test_a_worker_that_lost_its_trial_does_not_tell_it(url: str, server: Postgres, tiny: SearchSpace) -> None:
    """Its session is cut in its last evaluation, and another worker takes that up before it comes to its end."""
    database = url.rpartition("/")[2]
    told: list[str] = []

    def cut(architecture: Architecture) -> float:
        if states(url).count("COMPLETE") == 3:
            server.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
            begin(url, tiny).run(4)
            told.extend(states(url))
            return 0.123
        return synthetic_accuracy(tiny)(architecture)

    begin(url, tiny, cut).run(4)
    assert told == [*["COMPLETE"] * 4, "WAITING"]
    trials = load(store_at(url), "study").get_trials(deepcopy=False)
    assert 0.123 not in [trial.values[0] for trial in trials[:4]]
    workers = [trial.user_attrs[WORKER] for trial in trials[:4]]
    assert workers[0] == workers[1] == workers[2] != workers[3]


@pytest.mark.filterwarnings("ignore:the connection to")
def test_a_cut_session_comes_back(url: str, server: Postgres, tiny: SearchSpace) -> None:
    database = url.rpartition("/")[2]

    def cut(architecture: Architecture) -> float:
        server.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        return synthetic_accuracy(tiny)(architecture)

    begin(url, tiny, cut).run(5)
    assert_complete(url, tiny, 5)


def test_server_is_started_anew_in_the_middle(url: str, server: Postgres, tiny: SearchSpace) -> None:
    def slowly(architecture: Architecture) -> float:
        time.sleep(0.05)
        return synthetic_accuracy(tiny)(architecture)

    workers = [fork(lambda: begin(url, tiny, slowly).run(10)) for _ in range(2)]
    wait_until(lambda: states(url).count("COMPLETE") >= 3)
    server.stop()
    time.sleep(0.3)
    server.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert_complete(url, tiny, 10)


@pytest.mark.filterwarnings("ignore:the connection to")
def test_a_server_that_is_there_and_not_well_is_told_plainly(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.setattr(sys.modules["nas.search.database"], "RECONNECT_SECONDS", 0.5)
    calls: list[float] = []

    def write() -> None:
        calls.append(time.monotonic())
        raise psycopg.errors.DiskFull("no space left\non device")

    with (
        store_at(url).lease("study") as lease,
        pytest.raises(ConnectionError, match=r"no space left on device.*start the same command again"),
    ):
        lease.exclusively(write)
    assert 2 <= len(calls) <= 10


@pytest.mark.filterwarnings("ignore:the connection to")
def test_server_that_stays_away_is_told_plainly(
    url: str, server: Postgres, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["nas.search.database"], "RECONNECT_SECONDS", 0.5)
    worker = begin(url, tiny, lambda _: server.stop() or 0.5)
    try:
        with pytest.raises(ConnectionError) as caught:
            worker.run(3)
    finally:
        server.start()
    assert "was lost" in str(caught.value)
    assert "start the same command again" in str(caught.value)
    assert "\n" not in str(caught.value)
    begin(url, tiny).run(5)
    assert_complete(url, tiny, 5)


def test_a_host_that_vanishes_is_noticed_within_a_minute(url: str, server: Postgres) -> None:
    """What both ends of a session are asked to do; that they do it is the business of TCP."""
    store = store_at(url)
    session = store._connect()  # type: ignore[attr-defined]
    settings = {
        name: int(session.execute(f"SHOW tcp_keepalives_{name}").fetchone()[0])
        for name in ("idle", "interval", "count")
    }
    assert 0 < settings["idle"] + settings["interval"] * settings["count"] <= 60
    with socket.socket(fileno=os.dup(session.fileno())) as client:
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, count = (
            client.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
    assert 0 < idle + interval * count <= 60
    session.close()


def test_sigterm_frees_the_trial_at_once(url: str, tiny: SearchSpace, tmp_path: Path) -> None:
    def hang(architecture: Architecture) -> float:
        (tmp_path / "hangs").touch()
        time.sleep(60)
        return 0.0

    def terminable() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        begin(url, tiny, hang).run(5)

    victim = fork(terminable)
    wait_until((tmp_path / "hangs").exists)
    assert victim.pid is not None
    begun = time.monotonic()
    os.kill(victim.pid, signal.SIGTERM)
    begin(url, tiny).run(5)
    assert time.monotonic() - begun < 10
    victim.join(20)
    assert victim.exitcode == 143
    assert_complete(url, tiny, 5)


def test_another_study_of_the_same_name_is_refused(url: str, tiny: SearchSpace) -> None:
    store = store_at(url)
    make_worker(Path("unused"), tiny, sampler="random", options={}, store=store)
    with pytest.raises(UsageError, match="another seed: 0, now 1"):
        make_worker(Path("unused"), tiny, sampler="random", options={}, seed=1, store=store)


@pytest.mark.parametrize(
    "wrong",
    ["mysql://me:s3cret@host/db", "me:s3cret@host/db", "postgresql://me:s3cret@host:port/db", "postgresql:s3cret", ""],
)
@pytest.mark.usefixtures("driver")
def test_wrong_urls_are_refused_without_their_password(wrong: str) -> None:
    with pytest.raises(UsageError, match="postgresql://USER@HOST/DATABASE") as caught:
        store_at(wrong)
    assert "s3cret@" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nas.search.database", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'nasmyth\[postgresql\]'"):
        store_at("postgresql://me@host/db")


@pytest.mark.usefixtures("driver")
def test_unreachable_server_is_one_sentence(tiny: SearchSpace) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = store_at(f"postgresql://me:s3cret@127.0.0.1:{unused.getsockname()[1]}/db")
        with pytest.raises(ConnectionError, match=r"the database postgresql://me@127\.0\.0\.1:\d+/db cannot") as caught:
            store.open()
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_password_is_used_and_not_told(server: Postgres, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = store_at(server.guarded_url)
    assert not guarded.holds("study")
    bare = server.guarded_url.replace(":se%3Acret", "")
    assert str(guarded) == bare
    with pytest.raises(ConnectionError, match="PGPASSWORD"):
        store_at(bare).open()
    with pytest.raises(ConnectionError, match="PGPASSWORD") as caught:
        store_at(server.guarded_url.replace("cret", "cert")).open()
    assert "cert" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", "se:cret")
    assert not store_at(bare).holds("study")


def test_asking_waits_for_the_other(url: str) -> None:
    order: list[str] = []
    with store_at(url).lease("study") as one, store_at(url).lease("study") as two:
        inside = threading.Event()

        def first() -> None:
            inside.set()
            time.sleep(0.2)
            order.append("one")

        thread = threading.Thread(target=lambda: one.exclusively(first))
        thread.start()
        assert inside.wait(10)
        two.exclusively(lambda: order.append("two"))
        thread.join()
    assert order == ["one", "two"]


def test_tables_of_another_optuna_are_refused(url: str, server: Postgres, tiny: SearchSpace) -> None:
    import psycopg

    begin(url, tiny)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        session.execute("UPDATE version_info SET schema_version = 99, library_version = '99.0.0'")
    with pytest.raises(UsageError, match="tables of another version of Optuna"):
        store_at(url).open()


def test_time_limits_of_the_database_do_not_end_a_lease(url: str, server: Postgres, tiny: SearchSpace) -> None:
    for limit in ("idle_session_timeout", "statement_timeout", "lock_timeout"):
        server.query(f"ALTER DATABASE test SET {limit} = '150ms'")
    with store_at(url).lease("study") as one, store_at(url).lease("study") as two:
        inside = threading.Event()

        def first() -> None:
            inside.set()
            time.sleep(0.4)

        thread = threading.Thread(target=lambda: one.exclusively(first))
        thread.start()
        assert inside.wait(10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a lost connection would be told
            two.exclusively(lambda: time.sleep(0.4))
            assert two.is_held(one.worker)
            thread.join()
            assert one.is_held(two.worker)
