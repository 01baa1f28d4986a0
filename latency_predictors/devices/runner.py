"""The program that loads networks and times them, in a process of its own, here or on a remote machine.

It is copied to remote machines as this one file, so it uses the standard library, numpy and onnxruntime only, and
the syntax of Python 3.9. It reads one JSON object a line from standard input and answers on standard output:

    request                                             answer
    hello    protocol, backend, options                 protocol, fingerprint
    offer    hashes                                     missing: those of the hashes (sha256) that must be uploaded
    upload   hash, data (base64), first, last           nothing; the last part is followed by a check of the hash
    prepare  slot, hash                                 inputs, load_ms, memory_mb, peak_mb
    run      slot, inputs                               outputs, run_ms, peak_mb; the inputs are those timed from now on
    time     order (slots), repeats                     for each slot one line `visit`, `samples_ms`, then `done`
    meter    command                                    nothing; what tells energy from now on: a program, or RAPL
    energy   slot, burst_s                              energy_mj (of one run), runs
    release                                             nothing; all networks are unloaded
    forget   hashes                                     nothing; their files are removed
    fingerprint                                         fingerprint
    shutdown                                            nothing, and the program ends

Every request has an `id`, which its answers repeat, and may have `limit_s`: a process whose request (or visit) takes
longer ends itself. An answer with `error` (a word) and `reason` (a sentence) says what went wrong.
With the argument `supervise` the process is watched by another, which writes a last line `ended` with its exit code:
an ssh connection does not tell a crash there from a lost connection.
"""

from __future__ import annotations

import base64
import errno
import faulthandler
import gc
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PROTOCOL = 1
#: A visit lasts at least this long: smaller networks are run in bursts.
VISIT_MS = 1.0
#: Uploaded models that nobody asked for so long are removed.
KEEP_SECONDS = 7 * 24 * 3600.0

Request = dict[str, Any]
Reply = Callable[[dict[str, Any]], None]
Factory = Callable[[str, Mapping[str, Any]], Any]


class Refused(Exception):
    """A request that cannot be carried out.

    Attributes:
        kind: a word for programs: `protocol`, `missing`, `model`, `disk`, `energy`, `request`.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


# ------------------------------------------------------------------ ONNX Runtime


class Input(NamedTuple):
    """An input of a model: its sizes, `None` where they are free, and numpy's name of its type."""

    shape: tuple[int | None, ...]
    dtype: str


LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}

#: ONNX Runtime's name of each provider, and the package with a build that has it.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "migraphx": ("MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "qnn": ("QNNExecutionProvider", "onnxruntime-qnn"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
}

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxRuntime:
    """ONNX Runtime; the options are those of the backend of this name, which checks them.

    A provider other than `cpu` must run every operator of a model: one that it cannot run is an error, where ONNX
    Runtime by itself would run it on the processor. Threads do not spin while they wait unless told to: on a busy
    machine spinning threads made two-thread runs ten times slower.
    """

    name = "onnxruntime"

    def __init__(
        self, threads: int = 1, graph_optimization: str = "all", provider: str = "cpu", spinning: bool = False
    ) -> None:
        self.threads, self._level, self._provider, self._spinning = threads, graph_optimization, provider, spinning

    def version(self) -> str:
        """Version of the runtime; raises a `ModuleNotFoundError` that says what to install."""
        return str(self._runtime().__version__)

    def prepare(self, model: bytes | Path) -> OnnxRuntimeSession:
        """Load a model; raises a `ValueError` when the runtime cannot."""
        runtime = self._runtime()
        provider = self._checked_provider(runtime)
        source, options = model if isinstance(model, bytes) else str(model), self._session_options(runtime)
        try:
            session = runtime.InferenceSession(source, options, providers=[provider], enable_fallback=0)
        except Exception as error:  # its exceptions share no base class
            raise ValueError(f"ONNX Runtime cannot load the model: {sentence(error)}") from error
        if session.get_providers()[0] != provider:
            raise ValueError(
                f"ONNX Runtime could not start the provider {self._provider!r} and would have used the processor; "
                "install the driver and libraries that it needs"
            )
        return OnnxRuntimeSession(session)

    def _checked_provider(self, runtime: Any) -> str:
        wanted, package = PROVIDERS[self._provider]
        available = runtime.get_available_providers()
        if wanted not in available:
            here = ", ".join(name for name, (provider, _) in PROVIDERS.items() if provider in available)
            raise ValueError(
                f"this build of ONNX Runtime lacks the provider {self._provider!r} (it has {here}): "
                f"pip install {package} in place of onnxruntime"
            )
        return wanted

    def _session_options(self, runtime: Any) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, LEVELS[self._level])
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._spinning)))
        if self._provider != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.log_severity_level = 3
        return options

    @staticmethod
    def _runtime() -> Any:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            if error.name != "onnxruntime":
                raise
            raise ModuleNotFoundError(
                "onnxruntime is not installed: pip install onnxruntime", name="onnxruntime"
            ) from error
        return onnxruntime


class OnnxRuntimeSession:
    """A model that ONNX Runtime has loaded. Inputs are not checked here."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self.inputs = {value.name: _input(value) for value in session.get_inputs()}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs by name."""
        try:
            outputs = self.session.run(self._outputs, dict(inputs))
        except Exception as error:  # its exceptions share no base class
            raise ValueError(f"ONNX Runtime cannot run the model: {sentence(error)}") from error
        return dict(zip(self._outputs, outputs))  # noqa: B905

    def time(self, inputs: Mapping[str, Any], repeats: int) -> Any:
        """Milliseconds of each of `repeats` runs."""
        return stopwatch(self.bound(inputs), repeats)

    def bound(self, inputs: Mapping[str, Any]) -> Callable[[], object]:
        """A function that does one run with `inputs`."""
        binding = self.session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        run = self.session.run_with_iobinding
        return lambda: run(binding)


def stopwatch(run: Callable[[], object], repeats: int) -> Any:
    """Milliseconds of each of `repeats` runs, without warm-up."""
    stamps_ns = np.empty(repeats + 1, dtype=np.int64)
    stamps_ns[0] = time.perf_counter_ns()
    for index in range(1, repeats + 1):
        run()
        stamps_ns[index] = time.perf_counter_ns()
    return (stamps_ns[1:] - stamps_ns[:-1]) / 1e6


def _input(value: Any) -> Input:
    if value.type not in _DTYPES:
        raise ValueError(f"input {value.name!r} of the model has the type {value.type}, which is not supported")
    return Input(tuple(size if isinstance(size, int) else None for size in value.shape), _DTYPES[value.type])


def onnxruntime_only(name: str, options: Mapping[str, Any]) -> OnnxRuntime:
    """The only runtime that this file knows by itself."""
    if name != OnnxRuntime.name:
        raise Refused("request", f"this machine's runner knows {OnnxRuntime.name} only, not {name}")
    return OnnxRuntime(**options)


# ------------------------------------------------------------------ what machine this is

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")
#: Beginnings of the processor flags that numeric kernels are chosen by.
_KERNEL_FLAGS = (
    "sse4", "ssse3", "avx", "amx", "fma", "f16c", "asimd", "neon", "sve", "smef", "smei", "fphp", "bf16", "i8mm", "vfp",
)  # fmt: skip


def fingerprint(engine: Any) -> dict[str, Any]:
    """Processor, memory, system, runtime, threads, load and time (UTC), as JSON values.

    What this machine does not tell (the governor, the memory) is `None`.
    """
    return {
        "processor": processor(),
        "flags": flags(),
        "cores": cores(),
        "governor": _read(_GOVERNOR) or None,
        "memory_mb": _installed_memory_mb(),
        "operating_system": platform.platform(),
        "python": platform.python_version(),
        "runtime": engine.name,
        "runtime_version": engine.version(),
        "threads": engine.threads,
        "load_average": os.getloadavg()[0],
        "time": _now(),
    }


def processor() -> str:
    """Model of the processor; ARM Linux has the board's name, or the numbers of maker and part, instead."""
    found = _cpuinfo()
    board = _read(_BOARD).strip("\0")
    part = f"{platform.machine()} implementer {found.get('CPU implementer')} part {found.get('CPU part')}"
    known = found.get("model name") or found.get("Model") or board
    return known or (part if "CPU part" in found else platform.processor() or platform.machine())


def flags() -> str:
    """The instruction sets that matter for numeric code, in the order of the alphabet."""
    found = _cpuinfo()
    words = (found.get("flags") or found.get("Features") or "").split()
    return " ".join(sorted({word for word in words if word.startswith(_KERNEL_FLAGS)}))


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    pairs = (line.split(":", 1) for line in _read(_CPUINFO).splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _installed_memory_mb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    except (ValueError, OSError):
        return None


def _now() -> str:
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}+00:00"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def reset_peak() -> None:
    """Forget the peak of this process's memory so far, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory_mb() -> tuple[float, float]:
    """Resident memory of this process: now, and at its peak.

    Linux counts the peak of the memory that the process has had since it was started; getrusage, which other systems
    are asked through, may include that of the process it was forked from.
    """
    status = dict(line.split(":", 1) for line in _read(Path("/proc/self/status")).splitlines() if ":" in line)
    if "VmHWM" in status:
        now, peak = (float(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
        return now, peak
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return peak, peak


# ------------------------------------------------------------------ energy

#: Where Linux tells the energy that the processor has used (RAPL; AMD's processors have it too).
POWERCAP = Path("/sys/class/powercap")
#: A meter that takes longer to be read is refused.
METER_SECONDS = 5.0


class Rapl:
    """The counters of processor packages and of memory; the other ones are parts of these, or contain them.

    Args:
        root: the folder of the counters.
    """

    def __init__(self, root: Path) -> None:
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if self._counts(_read(zone / "name"))]
        if not zones:
            raise Refused("energy", f"there is no energy counter (RAPL) in {root}; add a device with an energy_command")
        self._last_uj = {zone: self._number(zone / "energy_uj") for zone in zones}
        self._total_uj = 0

    def joules(self) -> float:
        """Since this object was made; asked for at least once each time that a counter goes round."""
        for zone, last_uj in self._last_uj.items():
            now_uj = self._number(zone / "energy_uj")
            around = now_uj < last_uj
            self._total_uj += now_uj - last_uj + (self._number(zone / "max_energy_range_uj") if around else 0)
            self._last_uj[zone] = now_uj
        return self._total_uj / 1e6

    @staticmethod
    def _counts(name: str) -> bool:
        return name.startswith("package") or name == "dram"

    @staticmethod
    def _number(path: Path) -> int:
        try:
            return int(path.read_text())
        except (OSError, ValueError) as error:
            advice = f": run 'chmod a+r {path}' as root" if isinstance(error, PermissionError) else ""
            raise Refused("energy", f"the energy counter {path} cannot be read{advice}") from error


class MeterProgram:
    """A program that prints the joules of a power meter so far, as the last word of its output.

    Args:
        command: program and arguments; no shell is involved.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)

    def joules(self) -> float:
        """What it prints now."""
        try:
            done = subprocess.run(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=METER_SECONDS, check=True
            )
            joules = float(done.stdout.split()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            reason = getattr(error, "strerror", None) or "it must end well and print one number, the joules so far"
            raise Refused("energy", f"the energy_command {self._command[0]!r} failed: {reason}") from error
        if not np.isfinite(joules):
            raise Refused("energy", f"the energy_command {self._command[0]!r} printed {joules}")
        return joules


def energy(session: Any, inputs: Mapping[str, Any], meter: Any, seconds: float, alive: Callable[[], None]) -> Any:
    """Millijoule of one run, and the number of runs: of a burst of at least `seconds` after one run to warm up.

    A meter that takes long to read gets a burst ten times as long, since it counts while it is read.
    """
    warm_up_ms = max(float(session.time(inputs, 1)[0]), 1e-6)
    repeats, runs = max(1, int(10 / warm_up_ms)), 0
    asked = time.monotonic()
    before = meter.joules()
    started = time.monotonic()
    seconds = max(seconds, 10 * (started - asked))
    while time.monotonic() - started < seconds:
        alive()
        session.time(inputs, repeats)
        runs += repeats
    joules = meter.joules() - before
    if not joules > 0:
        raise Refused("energy", f"the energy meter did not go up while a network ran for {seconds:.3g} s")
    return 1000 * joules / runs, runs


# ------------------------------------------------------------------ arrays and hashes on the wire


def pack(value: Any) -> dict[str, Any]:
    """An array as JSON values."""
    array = np.asarray(value, order="C")
    data = base64.b64encode(array.tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def unpack(document: Mapping[str, Any]) -> Any:
    """Inverse of `pack`."""
    array = np.frombuffer(base64.b64decode(document["data"]), dtype=document["dtype"])
    return array.reshape(document["shape"]).copy()  # one that may be written to


def sentence(error: BaseException | str) -> str:
    """The first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


# ------------------------------------------------------------------ the models on disk


class Store:
    """Uploaded models: files that are named by the hash of their content.

    Args:
        folder: where they are; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the model is, or will be."""
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise Refused("request", f"{digest!r} is not a sha256")
        return self.folder / f"{digest}.onnx"

    def has(self, digest: str) -> bool:
        """Whether the model is there, whole."""
        path = self.path(digest)
        if not path.exists():
            return False
        os.utime(path)
        return _hash(path) == digest

    def add(self, digest: str, data: bytes, first: bool, last: bool) -> None:
        """Write a part; the file takes its name when all of it is there and its hash is right."""
        path = self.path(digest)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb" if first else "ab") as file:
                file.write(data)
            if last:
                self._finish(part, path, digest)
        except OSError as error:
            part.unlink(missing_ok=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else error.strerror or str(error)
            raise Refused("disk", f"a model cannot be stored in {self.folder}: {reason}") from error

    @staticmethod
    def _finish(part: Path, path: Path, digest: str) -> None:
        if _hash(part) != digest:
            part.unlink()
            raise Refused("request", "an uploaded model has another hash than announced")
        part.replace(path)

    def remove(self, digest: str) -> None:
        """Remove a model, if it is there."""
        self.path(digest).unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what nobody asked for in the last days."""
        for path in self.folder.glob("*"):
            try:
                if time.time() - path.stat().st_mtime > KEEP_SECONDS:
                    path.unlink()
            except OSError:  # another runner was quicker
                pass


def _hash(path: Path) -> str:
    """By small parts: once a large block was freed, glibc keeps the next ones, and the memory of a model seems larger."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 16):
            found.update(part)
    return found.hexdigest()


# ------------------------------------------------------------------ the program


class Runner:
    """Carries out requests.

    Args:
        factory: makes a runtime from its name and options: an object with `name`, `threads`, `version()` and
            `prepare(path)`; the latter gives an object with `inputs`, `run(inputs)` and `time(inputs, repeats)`.
        store: of the models.
        reply: sends one object.
    """

    def __init__(self, factory: Factory, store: Store, reply: Reply) -> None:
        self._factory, self._store, self._reply = factory, store, reply
        self._engine: Any = None
        self._sessions: dict[int, Any] = {}
        self._inputs: dict[int, dict[str, Any]] = {}
        self._meter: Any = None
        self._number: Any = None
        self._watchdog = Watchdog(None)
        self.running = True

    def handle(self, request: Request) -> None:
        """Carry out one request and answer it."""
        self._number = request.get("id")
        try:
            method = _METHODS.get(str(request.get("do")))
            if method is None:
                raise Refused("request", f"there is no request {request.get('do')!r}")
            with Watchdog(request.get("limit_s")) as self._watchdog:
                self._answer(method(self, request))
        except Refused as error:
            self._answer({"error": error.kind, "reason": sentence(error)})
        except ModuleNotFoundError as error:
            self._answer({"error": "missing", "reason": sentence(error), "module": error.name})
        except MemoryError:
            self._answer({"error": "model", "reason": "there is not enough memory for the model"})
        except Exception as error:  # a runtime may raise anything
            reason = sentence(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {sentence(error)}"
            self._answer({"error": "model", "reason": reason})

    def _answer(self, answer: dict[str, Any]) -> None:
        self._reply({"id": self._number, **answer})

    def hello(self, request: Request) -> dict[str, Any]:
        if request["protocol"] != PROTOCOL:
            raise Refused("protocol", f"this runner speaks protocol {PROTOCOL}, not {request['protocol']}")
        self._engine = self._factory(request["backend"], request["options"])
        self._store.clean()
        return {"protocol": PROTOCOL, "fingerprint": fingerprint(self._engine)}

    def fingerprint(self, request: Request) -> dict[str, Any]:
        return {"fingerprint": fingerprint(self._engine)}

    def offer(self, request: Request) -> dict[str, Any]:
        return {"missing": [digest for digest in request["hashes"] if not self._store.has(digest)]}

    def upload(self, request: Request) -> dict[str, Any]:
        data = base64.b64decode(request["data"])
        self._store.add(request["hash"], data, request["first"], request["last"])
        return {}

    def forget(self, request: Request) -> dict[str, Any]:
        for digest in request["hashes"]:
            self._store.remove(digest)
        return {}

    def prepare(self, request: Request) -> dict[str, Any]:
        path = self._store.path(request["hash"])
        reset_peak()
        before_mb, _ = memory_mb()
        started = time.perf_counter()
        session = self._engine.prepare(path)
        load_ms = 1000 * (time.perf_counter() - started)
        self._sessions[request["slot"]] = session
        described = {name: [list(value.shape), value.dtype] for name, value in session.inputs.items()}
        return {"inputs": described, "load_ms": load_ms, "memory_mb": before_mb, "peak_mb": memory_mb()[1]}

    def run(self, request: Request) -> dict[str, Any]:
        slot = request["slot"]
        inputs = {name: unpack(value) for name, value in request["inputs"].items()}
        started = time.perf_counter()
        outputs = self._sessions[slot].run(inputs)
        run_ms, (_, peak_mb) = 1000 * (time.perf_counter() - started), memory_mb()
        self._inputs[slot] = inputs
        packed = {name: pack(value) for name, value in outputs.items()}
        return {"outputs": packed, "run_ms": run_ms, "peak_mb": peak_mb}

    def time(self, request: Request) -> dict[str, Any]:
        gc.disable()
        try:
            for slot in request["order"]:
                self._watchdog.restart()
                samples_ms = visit(self._sessions[slot], self._inputs[slot], request["repeats"])
                self._answer({"visit": slot, "samples_ms": samples_ms})
        finally:
            gc.enable()
        return {"done": True}

    def meter(self, request: Request) -> dict[str, Any]:
        self._meter = MeterProgram(request["command"]) if request["command"] else Rapl(POWERCAP)
        self._meter.joules()
        return {}

    def energy(self, request: Request) -> dict[str, Any]:
        session, inputs = self._sessions[request["slot"]], self._inputs[request["slot"]]
        energy_mj, runs = energy(session, inputs, self._meter, request["burst_s"], self._watchdog.restart)
        return {"energy_mj": energy_mj, "runs": runs}

    def release(self, request: Request) -> dict[str, Any]:
        self._sessions.clear()
        self._inputs.clear()
        return {}

    def shutdown(self, request: Request) -> dict[str, Any]:
        self.running = False
        return {}


_METHODS: Mapping[str, Callable[[Runner, Request], dict[str, Any]]] = {
    method.__name__: method
    for method in (
        Runner.hello, Runner.fingerprint, Runner.offer, Runner.upload, Runner.forget, Runner.prepare, Runner.run,
        Runner.time, Runner.meter, Runner.energy, Runner.release, Runner.shutdown,
    )
}  # fmt: skip


def visit(session: Any, inputs: Mapping[str, Any], repeats: int) -> list[float]:
    """One run to warm up, then `repeats` samples in milliseconds; a sample is the fastest of a burst of runs."""
    warm_up_ms = max(float(session.time(inputs, 1)[0]), 1e-6)
    burst = max(1, ceil(VISIT_MS / (repeats * warm_up_ms)))
    runs_ms = np.asarray(session.time(inputs, repeats * burst))
    fastest: list[float] = runs_ms.reshape(repeats, burst).min(axis=1).tolist()
    return fastest


class Watchdog:
    """Ends the process after `seconds`, or up to an eighth later: a runtime that hangs cannot be stopped from within
    in any other way.

    Starting it takes a millisecond on a busy machine; hence the eighth, within which `restart` has nothing to do.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds, self._started = seconds, float("-inf")

    def __enter__(self) -> Watchdog:
        self.restart()
        return self

    def restart(self) -> None:
        """Count from now on."""
        now = time.monotonic()
        if self._seconds is not None and now - self._started > self._seconds / 8:
            faulthandler.dump_traceback_later(self._seconds * 9 / 8, exit=True, file=2)
            self._started = now

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()


def serve(factory: Factory, store: Path) -> None:
    """Answer requests until `shutdown` or the end of standard input.

    Runtimes print what they like: file descriptor 1 becomes a copy of 2, and the answers go to a copy of the old 1.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def reply(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer).encode("ascii") + b"\n")
        answers.flush()

    runner = Runner(factory, Store(store), reply)
    while runner.running:
        line = requests.readline()
        if not line:
            return
        runner.handle(json.loads(line))


def supervise(arguments: Sequence[str]) -> int:
    """Run this file in another process, and say how it ended."""
    code = subprocess.call([sys.executable, os.path.abspath(__file__), *arguments])
    os.write(1, b"\n" + json.dumps({"ended": code}).encode("ascii") + b"\n")
    return 0


def main(arguments: Sequence[str], factory: Factory = onnxruntime_only) -> int:
    """`[supervise] FOLDER [temporary]`: serve with the models in FOLDER, which is removed at the end when it is temporary.

    Whoever asks removes a temporary folder too; it is for the case that he is gone when standard input ends.
    """
    if arguments[:1] == ["supervise"]:
        return supervise(arguments[1:])
    try:
        serve(factory, Path(arguments[0]).expanduser())
    except BrokenPipeError:  # whoever asked is gone
        return 1
    finally:
        if arguments[1:] == ["temporary"]:
            shutil.rmtree(arguments[0], ignore_errors=True)
    return 0


if __name__ == "__main__":
    # Modules beside this file must not hide those of the same name, such as onnxruntime.
    sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(os.path.abspath(__file__))]
    sys.exit(main(sys.argv[1:]))
