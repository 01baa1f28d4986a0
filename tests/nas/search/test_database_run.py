"""Runs whose study is in a database: commands, and workers with another copy of the run's directory."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from postgres_server import Postgres
from safetensors.torch import load_file, save_file

import nas
from nas import pipeline
from nas.cli import main
from nas.errors import UsageError

TINY = Path(__file__).parents[2] / "e2e" / "tiny.yaml"
SECRET = "se:cret"


@pytest.fixture
def trained(finished: Path, tmp_path: Path) -> Path:
    """A trained and calibrated run without a study."""
    path = tmp_path / "trained"
    path.mkdir()
    for name in ("supernet.safetensors", "training.json"):
        shutil.copy(finished / name, path / name)
    shutil.copytree(finished / "calibration", path / "calibration")
    return path


@pytest.fixture
def guarded(server: Postgres, url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL with a password, which is in no environment."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    return server.guarded_url.replace("/postgres", "/test")


class Command:
    """Runs `nas` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str]:
        self._monkeypatch.setattr(sys, "argv", ["nas", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = self._capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        assert "se%3Acret" not in printed.out + printed.err
        return int(exit_.value.code or 0), printed.out + printed.err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return Command(monkeypatch, capsys)


def test_commands(
    trained: Path, guarded: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = [TINY, "--set", f"directory={trained}", "--set", "search.evaluations=4"]
    code, said = command("search", *config, "--storage", guarded)
    assert code == 0, said
    bare = guarded.replace(":se%3Acret", "")
    assert not (trained / "study.journal").exists()
    assert json.loads((trained / "study.json").read_text()) == {"storage": bare, "study": "tiny"}
    texts = [file.read_bytes() for file in trained.rglob("*") if file.is_file()]
    assert not any(SECRET.encode() in text or b"se%3Acret" in text for text in texts)
    assert f"storage: {bare}" in (trained / "config.yaml").read_text()

    code, said = command("search", *config)
    assert code == 2
    assert "search.storage" in said
    code, said = command("worker", trained)
    assert code == 2
    assert "PGPASSWORD" in said.splitlines()[-1]

    monkeypatch.setenv("PGPASSWORD", SECRET)
    elsewhere = Path(shutil.copytree(trained, tmp_path / "elsewhere"))
    more = (elsewhere / "config.yaml").read_text().replace("evaluations: 4", "evaluations: 6")
    (elsewhere / "config.yaml").write_text(more)
    code, said = command("worker", elsewhere, "--storage", bare.replace("127.0.0.1", "localhost"))
    assert code == 0, said
    code, said = command("front", trained, "--json")
    assert code == 0, said
    assert len(pipeline.existing_stages(trained).evaluations()) == 6


def test_a_study_of_other_weights_is_refused(trained: Path, url: str, tmp_path: Path) -> None:
    """Two runs of one name in one database are one study only when they have the same supernet."""
    settings = (f"search.storage={url}", "search.evaluations=2")
    found = nas.search(TINY, f"directory={trained}", *settings)
    same = Path(shutil.copytree(trained, tmp_path / "same"))
    assert nas.search(TINY, f"directory={same}", *settings) == found
    weights = {key: tensor * 1.0001 for key, tensor in load_file(same / "supernet.safetensors").items()}
    save_file(weights, same / "supernet.safetensors")
    with pytest.raises(UsageError, match=r"'tiny' in postgresql://.* was made with another weights"):
        nas.search(TINY, f"directory={same}", *settings)


def test_a_run_with_a_journal_keeps_it(copied: Path, url: str) -> None:
    with pytest.raises(UsageError, match=r"made with search\.storage = None, now it is 'postgresql://"):
        nas.search(TINY, f"directory={copied}", f"search.storage={url}")
    with pytest.raises(UsageError, match="keeps its study in a file"):
        pipeline.existing_stages(copied, storage=url)


@pytest.mark.usefixtures("driver")
def test_an_unreachable_database_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"the database postgresql://me@127\.0\.0\.1:1/db cannot be used"):
        nas.run(TINY, f"directory={tmp_path / 'run'}", "search.storage=postgresql://me:pw@127.0.0.1:1/db")
    assert not (tmp_path / "run" / "calibration").exists()


def test_warm_start_from_a_database(trained: Path, url: str, tmp_path: Path) -> None:
    known = nas.search(TINY, f"directory={trained}", f"search.storage={url}", "search.evaluations=3")
    new = Path(shutil.copytree(trained, tmp_path / "new", ignore=shutil.ignore_patterns("study.json", "config.yaml")))
    found = nas.search(TINY, f"directory={new}", f"search.warm_start={trained}", "search.evaluations=1")
    assert [one.architecture for one in found[:3]] == [one.architecture for one in known]
