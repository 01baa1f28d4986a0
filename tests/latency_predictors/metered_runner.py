"""A program: the runner, which looks for energy counters in the folder that its first argument names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

FILE = Path(__file__).parents[2] / "latency_predictors" / "devices" / "runner.py"

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("runner", FILE)
    assert spec
    assert spec.loader
    runner = importlib.util.module_from_spec(spec)
    sys.modules["runner"] = runner
    spec.loader.exec_module(runner)
    runner.POWERCAP = Path(sys.argv[1])
    sys.exit(runner.main(sys.argv[2:]))
