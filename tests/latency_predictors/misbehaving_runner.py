"""A program: the runner with a runtime that does to its process what the name of the model's graph says.

`abort load`, `hang run`, `error visit 3` and so on; any other graph behaves. The runner is loaded from its file, as on
a machine that has nothing else of the project.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

FILE = Path(__file__).parents[2] / "latency_predictors" / "devices" / "runner.py"


def wrong(how: str) -> None:
    if how == "abort":
        os.abort()
    if how == "exit":
        os._exit(7)
    if how == "hang":
        time.sleep(3600)
    raise RuntimeError("the runtime\nhas a bad day")


class Runtime:
    name, threads = "misbehaving", 1

    def version(self) -> str:
        return "1"

    def prepare(self, path: Path) -> Session:
        os.write(1, b'{"id": 0, "noise": "of a library"}\nand more')
        print("noise of Python")
        return Session(onnx.load(path).graph.name.split())


class Session:
    def __init__(self, words: list[str]) -> None:
        self.words, self.visits = words, 0
        self.inputs = {"input0": Input((None, 3), "float32")}
        self.maybe("load")

    def maybe(self, *moment: str) -> None:
        if self.words[1:] == list(moment):
            wrong(self.words[0])

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.maybe("run")
        return {"output0": inputs["input0"]}

    def time(self, inputs: dict[str, Any], repeats: int) -> Any:
        self.visits += repeats == 1
        self.maybe("visit", str(self.visits))
        print("noise of Python")
        return np.full(repeats, 1.0)


if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("runner", FILE)
    assert spec
    assert spec.loader
    runner = importlib.util.module_from_spec(spec)
    sys.modules["runner"] = runner
    spec.loader.exec_module(runner)
    Input = runner.Input
    sys.exit(runner.main(sys.argv[1:], lambda name, options: Runtime()))
