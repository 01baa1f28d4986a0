"""`python -m latency_predictors.devices.worker`: the runner with any backend of this project, on this machine."""

from __future__ import annotations

import sys

from latency_predictors.devices import backend, runner

if __name__ == "__main__":
    sys.exit(runner.main(sys.argv[1:], backend.make))
