"""The tasks of papers, and ours: which devices of which table are known, and which are unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.few_shot_latency.benchmark import Advance, Plan, run
from experiments.few_shot_latency.dataset import SHIPPED, Dataset, load
from experiments.few_shot_latency.figures import geometric_mean, mean

#: A task whose training devices are all others of its table, for each test device anew.
OTHERS: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: of the task.
        space: as for `--space`.
        table: file below the folder of tables, or `shipped`.
        train: devices; `OTHERS`: all but the one that is tested.
        test: devices; `OTHERS`: all of them.
        protocol: as for `--protocol`.
        phase: of the workload; `None` for the first one.
        group: tasks of one group have a geometric mean.
    """

    name: str
    space: str
    table: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    protocol: str = "help"
    phase: str | None = None
    group: str = ""


def _devices(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_GPUS = _devices(
    "1080ti_1 1080ti_32 1080ti_64 2080ti_1 2080ti_32 2080ti_64 titan_rtx_1 titan_rtx_32 titan_rtx_64 "
    "titanx_1 titanx_32 titanx_64 titanxp_1 titanxp_32 titanxp_64"
)


def _fbnet(name: str, train: tuple[str, ...], test: str) -> Task:
    return Task(name, "fbnet", "fbnet.parquet", train, _devices(test), "all", group="fbnet")


# On the GPU the encoder's latency is that of launching it: there is nothing to rank.
_HAT_ENCODER = _devices("cpu_raspberrypi:wmt14enfr cpu_xeon:wmt14ende")

#: Devices that a table does not have are left out, and said to be.
TASKS = (
    Task(
        "NAS-Bench-201 (HELP)", "nasbench201", "nasbench201.parquet",
        _devices("1080ti_1 1080ti_32 1080ti_256 silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"),
        _devices("titan_rtx_256 gold_6226 fpga pixel2 raspi4 eyeriss"),
    ),
    _fbnet(
        "FBNet FD",
        _devices("1080ti_1 1080ti_32 1080ti_64 silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"),
        "fpga raspi4 eyeriss",
    ),
    _fbnet(
        "FBNet F1", _devices("2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32"),
        "eyeriss fpga raspi4 samsung_a50 samsung_s7",
    ),
    _fbnet(
        "FBNet F2", _devices("essential_ph_1 gold_6226 gold_6240 pixel3 raspi4"),
        "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
    ),
    _fbnet(
        "FBNet F3", _devices("essential_ph_1 pixel2 pixel3 raspi4 samsung_s7"),
        "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
    ),
    _fbnet(
        "FBNet F4",
        _devices(
            "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r titan_rtx_1 titan_rtx_32"
        ),
        "1080ti_1 pixel2 essential_ph_1",
    ),
    _fbnet("FBNet FA", _GPUS, "gold_6226 essential_ph_1 samsung_s7 pixel2"),
    Task(
        "once-for-all (HELP)", "ofa-mobilenetv3", "ofa_mobilenetv3.parquet",
        _devices("2080ti_1 2080ti_32 2080ti_64 titan_xp_1 titan_xp_32 titan_xp_64 v100_1 v100_32 v100_64"),
        _devices("titan_rtx_64"),
    ),
    Task("Accel-NASBench, none known", "accel-nasbench", "accel_nasbench_mnasnet.parquet", (), OTHERS, "all"),
    # The two columns of the zcu102 are one device: neither is known when the other is unseen.
    Task(
        "Accel-NASBench, GPUs and TPU known", "accel-nasbench", "accel_nasbench_mnasnet.parquet",
        _devices("throughput_a100_imgps throughput_3090_imgps throughput_tpuv2_imgps"),
        _devices("latency_zcu102_ms throughput_zcu102_imgps"), "all",
    ),
    Task("HAT decoder, none known", "hat", "hat_transformer.parquet", (), OTHERS, "all", "decoder"),
    Task("HAT encoder, none known", "hat", "hat_transformer.parquet", (), _HAT_ENCODER, "all", "encoder"),
    Task("own devices, none known", "convnet", SHIPPED, (), OTHERS, "all"),
    Task("own devices, all others known", "convnet", SHIPPED, OTHERS, OTHERS, "all"),
)  # fmt: skip


def run_task(task: Task, folder: str, plan: Plan, progress: Advance) -> dict[str, Any]:
    """The results of `run` for a task; `left_out` names the devices that the table does not have.

    Args:
        task: which one.
        folder: of the tables.
        plan: method, samples, draws, sample set and seed.
        progress: called with the calibrations that are done and all of them.

    Raises:
        OSError, ValueError: as `load` and `run`; when the table has no device to test on.
    """
    data = load(task.space, task.table if task.table == SHIPPED else f"{folder}/{task.table}", phase=task.phase)
    known = list(data.latency_ms)
    test = tuple(known) if task.test == OTHERS else tuple(name for name in task.test if name in known)
    if not test:
        raise ValueError(f"{task.table} has none of the devices {', '.join(task.test)}")
    plan = replace(plan, protocol=task.protocol)
    if task.train == OTHERS:
        return {**_each_with_others(data, plan, test, progress), "left_out": []}
    train = tuple(name for name in task.train if name in known)
    result = run(data, replace(plan, train_devices=train, test_devices=test), progress)
    named = [*task.train, *(() if task.test == OTHERS else task.test)]
    return {**result, "left_out": [name for name in named if name not in known]}


def _each_with_others(data: Dataset, plan: Plan, test: Sequence[str], progress: Advance) -> dict[str, Any]:
    """One run for each device, merged as if it were one."""
    results = []
    for number, device in enumerate(test):
        others = tuple(name for name in data.latency_ms if name != device)
        results.append(run(data, replace(plan, train_devices=others, test_devices=(device,))))
        progress(number + 1, len(test))
    devices = {name: found for one in results for name, found in one["devices"].items()}
    return {
        **results[0],
        "devices": devices,
        "mean": mean([one["mean"] for one in results]),
        "geometric_mean_rho": geometric_mean([found["rho"] for found in devices.values()]),
        **{name: float(max(one[name] for one in results)) for name in ("calibration_ms", "choice_ms", "learning_s")},
        "architectures_per_s": float(min(one["architectures_per_s"] for one in results)),
        "test_devices": list(test),
        "train_devices": "all others",
    }
