"""One of several processes that train the supernet of a run together.

`nas train` and `nas run` start them when `training.processes` is above 1. On several machines they are started by hand,
with a directory that all machines see, made there by `nas profile CONFIG`:

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
        -m nas.training.worker RUN_DIRECTORY

A complete training is left in the run's checkpoint; `nas train CONFIG` then finishes the stage. An interrupted one is
started again in the same way, also with another number of processes.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from pathlib import Path
from typing import Any


def main() -> None:
    """Train with the other processes; rank 0 keeps the result, and reports each step to the process that attends."""
    parser = argparse.ArgumentParser(prog="torchrun -m nas.training.worker", description=__doc__)
    parser.add_argument("run", type=Path, help="the directory of the run")
    parser.add_argument("--attended", action="store_true", help="end with standard input, and report as JSON lines")
    arguments = parser.parse_args()
    if not arguments.attended:
        _train(arguments.run, attended=False)
        return
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        _train(arguments.run, attended=True)
    except Exception as error:
        _report(error=type(error).__name__, message=str(error))
        raise


def _train(path: Path, attended: bool) -> None:
    import torch

    from nas.progress import Reporter
    from nas.runs import Run
    from nas.stages import Stages
    from nas.training.execution import candidates
    from nas.training.processes import Processes, threads_each

    stages = Stages(*Run.existing(path))
    config = stages.config
    torch.set_num_threads(threads_each(config.threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    with Processes.joined(cuda=candidates(config.training)[0].device == "cuda") as processes:
        trainer = stages.trainer(processes)
        if attended:
            trainer.run(_advance if processes.rank == 0 else None)
        else:
            with Reporter(quiet=processes.rank != 0).progress("train the supernet") as advance:
                trainer.run(advance)
        trainer.save()


def _end_with_input() -> None:
    """The other end of standard input is held by the process that attends: it closes, however that process ends."""
    while os.read(0, 1):  # a buffered reader would hold a lock that Python wants when it ends
        pass
    os._exit(1)


def _advance(done: int, total: int, text: str = "") -> None:
    _report(done=done, total=total)


def _report(**message: Any) -> None:
    # the processes share one pipe: only a single write stays in one piece, and print makes two where it is unbuffered
    os.write(1, f"{json.dumps(message)}\n".encode())


if __name__ == "__main__":
    main()
