"""Files: old content or new, never half of it; damage is named; locks end with their holder."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.errors import UsageError
from nas.files import (
    locked,
    read_checkpoint,
    read_json,
    read_tensors,
    write_bytes,
    write_checkpoint,
    write_json,
    write_tensors,
    write_text,
)


def test_text_bytes_and_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_text(path, "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("old", [None, b"old content"])
@pytest.mark.parametrize("breaks", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str, old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(breaks, fail)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new content")
    assert [file.name for file in tmp_path.iterdir()] == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_the_new_content_is_complete_and_on_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = tmp_path / "file", []
    path.write_bytes(b"old")
    replace, fsync = Path.replace, os.fsync

    def watched_fsync(descriptor: int) -> None:
        events.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        events.append(("replace", self.stat().st_size))
        assert path.read_bytes() == b"old"
        assert self.parent == target.parent
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_bytes(path, b"x" * 100_000)
    assert events[:2] == [("fsync", 100_000), ("replace", 100_000)]
    assert [name for name, _ in events[2:]] == ["fsync"]  # of the folder, so that the new name is on disk too
    assert path.read_bytes() == b"x" * 100_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values)
def test_json_round_trip(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value


def test_tensors_round_trip(tmp_path: Path) -> None:
    full = torch.arange(24.0).view(2, 3, 4)
    tensors = {
        "transposed": full.transpose(0, 2),
        "slice": full[:, 1:],
        "scalar": torch.tensor(3),
        "half": full.bfloat16(),
        "trained": torch.nn.Parameter(full),
    }
    write_tensors(tmp_path / "t", tensors)
    found = read_tensors(tmp_path / "t")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    state = {"weights": {"a": torch.randn(3)}, "step": 3, "sums": {"x": 0.5}, "logs": [{"step": 1, "none": None}]}
    write_checkpoint(tmp_path / "c", state)
    found = read_checkpoint(tmp_path / "c")
    assert torch.equal(found.pop("weights")["a"], state["weights"]["a"])  # type: ignore[index]
    assert found == {name: value for name, value in state.items() if name != "weights"}


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], None]]] = {
    "json": (read_json, lambda path: write_json(path, {"a": [1, 2, {"b": None}]})),
    "tensors": (read_tensors, lambda path: write_tensors(path, {"a": torch.arange(10.0), "b": torch.eye(3)})),
    "checkpoint": (read_checkpoint, lambda path: write_checkpoint(path, {"a": {"b": torch.arange(10.0)}, "step": 1})),
}


@pytest.mark.parametrize("kind", READERS)
def test_missing_and_truncated_files_are_named(tmp_path: Path, kind: str) -> None:
    read, write = READERS[kind]
    path = tmp_path / "the-file"
    with pytest.raises(UsageError, match="the-file"):
        read(path)
    with pytest.raises(UsageError, match=tmp_path.name):
        read(tmp_path)
    write(path)
    whole = path.read_bytes()
    for length in sorted({0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 3}):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match=r"the-file .*delete it"):
            read(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", READERS)
def test_changed_bytes_never_give_another_error(tmp_path: Path, kind: str) -> None:
    read, write = READERS[kind]
    path = tmp_path / "the-file"
    write(path)
    whole, draw = path.read_bytes(), random.Random(0)
    legacy = pickle.dumps({"a": [1, 2, {"x": (1, 2)}], "b": "text"}, protocol=2)
    messages = []
    for attempt in range(300):
        content = bytearray(whole if attempt % 2 else legacy)
        for _ in range(draw.randrange(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)
        try:
            read(path)
        except UsageError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all("the-file" in message for message in messages)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("[" * 200_000)
    with pytest.raises(UsageError, match="deep"):
        read_json(tmp_path / "deep")


class Evil:
    """Would make a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_a_pickled_object_is_refused_and_not_executed(tmp_path: Path, write: Callable[[Any, Path], object]) -> None:
    write({"step": 1, "x": Evil(tmp_path / "executed")}, tmp_path / "checkpoint")
    with pytest.raises(UsageError) as caught:
        read_checkpoint(tmp_path / "checkpoint")
    assert not (tmp_path / "executed").exists()
    assert "weights_only" not in str(caught.value)  # torch's advice is to execute it


def test_a_checkpoint_is_a_dictionary(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "c")
    with pytest.raises(UsageError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "c")


HOLD = """
import sys, time
from pathlib import Path
from nas.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_is_exclusive_between_processes_and_freed_by_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
        holder.send_signal(signal.SIGKILL)
        started = time.monotonic()
        with locked(path):  # waits for the end of the holder
            assert time.monotonic() - started < 10
    with locked(path, wait=False):
        pass


def test_lock_is_freed_by_an_error_and_exclusive_within_a_process(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with pytest.raises(KeyError), locked(path):
        raise KeyError
    with locked(path, wait=False):
        pass
