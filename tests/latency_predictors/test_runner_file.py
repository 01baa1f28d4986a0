"""The runner's file by itself: what it needs, and what it does with uploads."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_predictors.devices import runner
from latency_predictors.devices.client import Client
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.transports import DeviceError, LocalTransport
from nas.testing.backends import every_operator

FILE = Path(runner.__file__)


def test_it_needs_the_standard_library_numpy_and_onnxruntime_and_python_3_9() -> None:
    tree = ast.parse(FILE.read_text(), feature_version=(3, 9))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert others == {"numpy", "onnxruntime"}
    # Annotations are never evaluated; elsewhere Python 3.9 knows no `int | None`.
    annotations = [part for node in ast.walk(tree) for part in annotated(node)]
    unions = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)]
    assert all(any(union in ast.walk(part) for part in annotations) for union in unions)


def annotated(node: ast.AST) -> Iterator[ast.AST]:
    for name in ("annotation", "returns"):
        if part := getattr(node, name, None):
            yield part


class Program:
    """The runner as a program of its own, asked in its own language."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(FILE), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return self.next()

    def next(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line.strip() else self.next()

    def hello(self) -> dict[str, Any]:
        return self.ask(id=1, do="hello", protocol=1, backend="onnxruntime", options={})


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program("supervise", str(tmp_path / "models"))
    with made.process:
        yield made
        made.process.kill()


def upload(digest: str, data: bytes, first: bool = True, last: bool = True) -> dict[str, Any]:
    return {
        "id": 2,
        "do": "upload",
        "hash": digest,
        "data": base64.b64encode(data).decode(),
        "first": first,
        "last": last,
    }


def test_the_whole_conversation(program: Program, tmp_path: Path) -> None:
    model = timing_graph(every_operator())
    digest = hashlib.sha256(model).hexdigest()
    hello = program.hello()
    assert (hello["id"], hello["protocol"]) == (1, 1)
    assert hello["fingerprint"]["runtime"] == "onnxruntime"
    assert program.ask(id=2, do="offer", hashes=[digest]) == {"id": 2, "missing": [digest]}
    program.ask(**upload(digest, model[:1000], last=False))
    assert program.ask(id=2, do="offer", hashes=[digest])["missing"] == [digest]  # not whole yet
    program.ask(**upload(digest, model[1000:], first=False))
    assert (tmp_path / "models" / f"{digest}.onnx").read_bytes() == model
    assert program.ask(id=2, do="offer", hashes=[digest])["missing"] == []
    prepared = program.ask(id=3, do="prepare", slot=4, hash=digest)
    assert prepared["inputs"] == {f"input{index}": [[1, 4, 6, 6], "float32"] for index in (0, 1)}
    inputs = {name: runner.pack(np.ones((1, 4, 6, 6), np.float32)) for name in prepared["inputs"]}
    ran = program.ask(id=4, do="run", slot=4, inputs=inputs)
    assert runner.unpack(ran["outputs"]["output0"]).shape == (3, 3)
    first = program.ask(id=5, do="time", order=[4, 4], repeats=2, limit_s=60)
    second, done = program.next(), program.next()
    for visit in (first, second):
        assert (visit["id"], visit["visit"], len(visit["samples_ms"])) == (5, 4, 2)
        assert min(visit["samples_ms"]) > 0
    assert done == {"id": 5, "done": True}
    program.ask(id=6, do="forget", hashes=[digest])
    assert list((tmp_path / "models").iterdir()) == []
    assert program.ask(id=7, do="release") == {"id": 7}
    assert program.ask(id=8, do="shutdown") == {"id": 8}
    assert program.next() == {"ended": 0}
    assert program.process.wait(30) == 0


def test_a_wrong_hash_and_a_damaged_file_are_seen(program: Program, tmp_path: Path) -> None:
    program.hello()
    digest = hashlib.sha256(b"announced").hexdigest()
    answer = program.ask(**upload(digest, b"sent"))
    assert (answer["error"], "another hash" in answer["reason"]) == ("request", True)
    assert list((tmp_path / "models").iterdir()) == []
    program.ask(**upload(digest, b"announced"))
    (tmp_path / "models" / f"{digest}.onnx").write_bytes(b"announc")
    assert program.ask(id=2, do="offer", hashes=[digest])["missing"] == [digest]
    for name in ("../" * 20 + "tmp/x", "a" * 63, "A" * 64, ""):
        assert program.ask(**upload(name, b""))["error"] == "request"


def test_wrong_requests_are_answered(program: Program) -> None:
    assert program.ask(id=1, do="hello", protocol=99, backend="onnxruntime", options={})["error"] == "protocol"
    assert program.ask(id=1, do="hello", protocol=1, backend="other", options={})["error"] == "request"
    assert program.ask(id=9, do="dance")["reason"] == "there is no request 'dance'"
    assert program.hello()["protocol"] == 1  # it goes on


def test_the_supervisor_tells_how_the_runner_ended(program: Program) -> None:
    program.hello()
    (child,) = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children").read_text().split()
    subprocess.run(["kill", "-SEGV", child], check=True)
    assert program.next() == {"ended": -11}


def test_it_ends_with_its_standard_input(program: Program) -> None:
    program.hello()
    assert program.process.stdin
    program.process.stdin.close()
    assert program.process.wait(30) == 0


def test_models_that_are_there_are_not_sent_again(tmp_path: Path) -> None:
    model = timing_graph(every_operator())
    digest = hashlib.sha256(model).hexdigest()
    (tmp_path / f"{digest}.onnx").write_bytes(model)
    with Client(LocalTransport("onnxruntime", tmp_path), "onnxruntime", {}) as client:
        client.upload({digest: b"would be refused"}, 60)
        assert client.prepare(0, digest, 60).inputs.keys() == {"input0", "input1"}


def test_models_that_nobody_asked_for_in_a_week_are_removed(tmp_path: Path) -> None:
    old, recent = tmp_path / f"{'a' * 64}.onnx", tmp_path / f"{'b' * 64}.onnx"
    for path, days in ((old, 8), (recent, 6)):
        path.touch()
        os.utime(path, (time.time() - days * 86_400,) * 2)
    runner.Store(tmp_path).clean()
    assert list(tmp_path.iterdir()) == [recent]


def test_other_backends_run_in_a_process_with_the_whole_project(tmp_path: Path) -> None:
    """ONNX Runtime by way of the worker that all other backends have."""
    model = timing_graph(every_operator())
    digest = hashlib.sha256(model).hexdigest()
    with Client(LocalTransport("any other", tmp_path), "onnxruntime", {"threads": 2}) as client:
        assert client.fingerprint["threads"] == 2
        client.upload({digest: model}, 60)
        prepared = client.prepare(0, digest, 60)
        inputs = {name: np.ones((1, 4, 6, 6), np.float32) for name in prepared.inputs}
        assert client.run(0, inputs, 60).outputs["output0"].shape == (3, 3)
        assert [(slot, len(samples)) for slot, samples in client.time([0, 0], 2, 60)] == [(0, 2), (0, 2)]


def test_wrong_options_are_one_sentence() -> None:
    with pytest.raises(DeviceError, match=r"^onnxruntime does not start on this machine: .*'thread'"):
        Client(LocalTransport("onnxruntime"), "onnxruntime", {"thread": 2})


def test_a_runner_of_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PROTOCOL", 2)
    with pytest.raises(DeviceError, match="speaks protocol 1, not 2"):
        Client(LocalTransport("onnxruntime"), "onnxruntime", {})
