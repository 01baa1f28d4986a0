"""`python -m experiments.few_shot_latency.tables --data DIR --method M ...`: all tasks of papers and ours, as Markdown.

Means over the devices of each task that its table holds; devices that a table lacks are named below. `--devices` adds a
table of every device. What the figures mean: `python -m experiments.few_shot_latency --help`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.few_shot_latency.baselines import method as find_method
from experiments.few_shot_latency.benchmark import Plan
from experiments.few_shot_latency.figures import geometric_mean
from experiments.few_shot_latency.sample_sets import SAMPLE_SETS
from experiments.few_shot_latency.tasks import TASKS, Task, run_task
from nas.progress import Reporter

FIGURES = {
    "rho": ".3f",
    "rho80": ".3f",
    "tau": ".3f",
    "mdape": ".1f",
    "coverage90": ".2f",
    "rho_given_macs": ".2f",
    "rho_one_resolution": ".3f",
}
SPEEDS = {"learning_s": ".1f", "calibration_ms": ".0f", "architectures_per_s": ",.0f"}

Results = dict[str, dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tasks; the exit code: 0 done, 1 a task could not be run with a method, 2 wrong use."""
    arguments = _parser().parse_args(argv)
    if not arguments.data:
        print(
            "error: give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files",
            file=sys.stderr,
        )
        return 2
    tasks = [task for task in TASKS if any(part.lower() in task.name.lower() for part in arguments.tasks)]
    found: dict[str, dict[str, Any]] = {}
    complete = True
    try:
        if not tasks:
            raise ValueError(f"no task is called so; there are {'; '.join(task.name for task in TASKS)}")
        for name in arguments.method:
            find_method(name)  # raises before any work when there is none
        for name in arguments.method:
            plan = Plan(
                name, (), ("of the task",), arguments.samples, arguments.draws,
                sample_set=arguments.sample_set, seed=arguments.seed,
            )  # fmt: skip
            results, reasons = _run(tasks, os.path.join(arguments.data, "latency"), plan)
            print(markdown(plan, tasks, results, reasons, arguments.devices), flush=True)
            found[name] = {**results, **{task: {"error": reason} for task, reason in reasons.items()}}
            complete = complete and not reasons
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(found, allow_nan=False))
    return 0 if complete else 1


def _run(tasks: Sequence[Task], folder: str, plan: Plan) -> tuple[Results, dict[str, str]]:
    """Results of the tasks, and why the others could not be run with this method."""
    results, reasons = {}, {}
    for task in tasks:
        with Reporter().progress(f"{plan.method}: {task.name}") as advance:
            try:
                results[task.name] = run_task(task, folder, plan, advance)
            except ValueError as error:
                reasons[task.name] = str(error)
    return results, reasons


def markdown(
    plan: Plan, tasks: Sequence[Task], results: Results, reasons: Mapping[str, str], devices: bool = False
) -> str:
    """The table of a method: a line for each task, and the geometric means of groups of tasks."""
    columns = [name for name in FIGURES if any(one["mean"].get(name) is not None for one in results.values())]
    lines = [
        f"\n`{plan.method}`, {plan.samples} samples ({plan.sample_set}), mean of {plan.draws} draws:\n",
        f"| task | {' | '.join([*columns, *SPEEDS])} |",
        "|---" * (len(columns) + len(SPEEDS) + 1) + "|",
    ]
    for name, one in results.items():
        speeds = [format(one[speed], style) for speed, style in SPEEDS.items()]
        lines.append(f"| {name} | {' | '.join([*_cells(one['mean'], columns), *speeds])} |")
        if devices:
            blank = " |" * len(SPEEDS)
            lines += [
                f"| - {device} | {' | '.join(_cells(row, columns))} |{blank}" for device, row in one["devices"].items()
            ]
    lines += _groups(tasks, results)
    lines += [
        f"\n{name}: the table has no {', '.join(one['left_out'])}" for name, one in results.items() if one["left_out"]
    ]
    lines += [f"\n{name}: not run: {reason}" for name, reason in reasons.items()]
    return "\n".join(lines)


def _groups(tasks: Sequence[Task], results: Results) -> list[str]:
    lines = []
    for group in dict.fromkeys(task.group for task in tasks if task.group):
        members = [task.name for task in tasks if task.group == group]
        if not all(name in results for name in members):
            continue
        value = geometric_mean([results[name]["mean"]["rho"] for name in members])
        shown = "-" if value is None else f"{value:.3f}"
        lines.append(f"\ngeometric mean of rho over the {len(members)} tasks of {group}: {shown}")
    return lines


def _cells(row: Mapping[str, float | None], columns: Sequence[str]) -> list[str]:
    values = [(row[name], FIGURES[name]) for name in columns]
    return ["-" if value is None else format(value, style) for value, style in values]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.few_shot_latency.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA; tables are in DIR/latency")
    add("--method", required=True, nargs="+", metavar="M")
    add("--tasks", nargs="+", default=[""], metavar="TEXT", help="only tasks with one of these in their names")
    add("--samples", type=int, default=10)
    add("--draws", type=int, default=20)
    add("--sample-set", choices=list(SAMPLE_SETS), default="reference")
    add("--seed", type=int, default=0)
    add("--devices", action="store_true", help="a line for every device, too")
    add("--json", action="store_true", help="one JSON object, last on standard output: by method and task")
    return parser


if __name__ == "__main__":
    sys.exit(main())
