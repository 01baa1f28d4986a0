"""How the runner of a device is reached: a process on this machine, or one at the other end of ssh."""

from __future__ import annotations

import hashlib
import json
import os
import re
import selectors
import shlex
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO, ClassVar

from latency_predictors.devices import runner
from latency_predictors.devices.ssh import Address, explain, ssh_command


class DeviceError(ValueError):
    """A device that cannot be reached or used; the message says what to do."""


class Stopped(Exception):
    """The runner is gone, or must be taken for gone; whoever asked may start another one."""


class Crashed(Stopped):
    """The runner's process came to its end by itself."""


class Overdue(Stopped):
    """There was no answer within the time limit."""


class Lost(Stopped):
    """The connection broke, or could not be made."""


class Connection(ABC):
    """Lines to and from a runner."""

    @abstractmethod
    def send(self, line: bytes) -> None:
        """Send one line. What prevents it is told by the next `receive`."""

    @abstractmethod
    def receive(self, seconds: float) -> bytes:
        """The next line.

        Raises:
            Overdue: when there is none within `seconds`.
            Crashed: when the runner came to its end.
            Lost: when the connection did.
            DeviceError: when it could never be made, and trying again does not help.
        """

    @abstractmethod
    def close(self) -> None:
        """End the runner, whatever it does."""


class Transport(ABC):
    """A way to a runner.

    Attributes:
        retry_seconds: pauses before each attempt to reach the runner again after the connection broke.
        where: the machine, for messages.
    """

    retry_seconds: ClassVar[Sequence[float]] = (0.0,)
    where: str

    @abstractmethod
    def connect(self) -> Connection:
        """Start a runner."""

    def install(self, package: str) -> str:
        """How to install a Python package there, for messages."""
        return f"pip install {package}"

    def close(self) -> None:  # noqa: B027
        """Remove what was kept for the runners."""


class ProcessConnection(Connection):
    """The standard streams of a process.

    Args:
        command: program and arguments; no shell is involved.
        environment: of the process.
        address: of the other end, when the process is ssh.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, address: Address | None = None
    ) -> None:
        self._address = address
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            # A session of its own: Ctrl-C is for this process, which then ends that one.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment,
                bufsize=0, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            self._errors.close()
            raise DeviceError(f"there is no program {command[0]!r}: install it (ssh is in openssh-client)") from error
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._parts: list[bytes] = []  # of a line that has not come to its end
        self._lines: list[bytes] = []

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        view = memoryview(line)
        with suppress(BrokenPipeError):
            while view:
                view = view[self._input.write(view) :]

    def receive(self, seconds: float) -> bytes:
        deadline = monotonic() + seconds
        while not self._lines:
            if not self._selector.select(max(0.0, deadline - monotonic())):
                raise Overdue(f"gave no answer for {seconds:.4g} s")
            data = os.read(self._output.fileno(), 1 << 20)
            if not data:
                raise self._ended()
            first, *others = data.split(b"\n")
            self._parts.append(first)
            for part in others:
                self._lines.append(b"".join(self._parts))
                self._parts = [part]
        return self._lines.pop(0)

    def _ended(self) -> Exception:
        code = self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 10_000))
        said = self._errors.read().decode(errors="replace")
        if self._address is not None:
            permanent, reason = explain(self._address, code, said)
            return DeviceError(reason) if permanent else Lost(reason)
        return Crashed(ending(code, said))

    def close(self) -> None:
        self._selector.close()
        self._process.kill()  # nothing is in its memory that anybody needs
        self._process.wait()
        with suppress(OSError):
            self._input.close()
        self._output.close()
        self._errors.close()


def ending(code: int, said: str = "") -> str:
    """How a process ended, in words, with the last line that it wrote to standard error."""
    import signal

    try:
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    except ValueError:
        how = f"ended by signal {-code}"
    hint = " (the system may have run out of memory)" if code == -9 else ""
    lines = said.strip().splitlines()
    return f"{how}{hint}" + (f": {lines[-1].strip()}" if lines and code > 0 else "")


#: Backends whose sessions are made by the runner itself; the others need the whole project in their process.
_ALONE = (runner.OnnxRuntime.name,)


class LocalTransport(Transport):
    """A process on this machine.

    Args:
        backend: name of the runtime.
        store: folder of the models; a new one when `None`.
    """

    where = "this machine"

    def __init__(self, backend: str, store: Path | None = None) -> None:
        self._folder = None if store else tempfile.TemporaryDirectory(prefix="nasmyth-models-")
        self._store = [str(store)] if store else [self._folder.name, "temporary"] if self._folder else []
        self._program = (
            [str(Path(runner.__file__).resolve())] if backend in _ALONE else ["-m", "latency_predictors.devices.worker"]
        )

    def connect(self) -> Connection:
        # The process finds the same modules as this one, wherever this one was told to look.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return ProcessConnection([sys.executable, "-P", *self._program, *self._store], environment)

    def close(self) -> None:
        if self._folder:
            self._folder.cleanup()


# The far side reads the runner from standard input, keeps it under its hash, and becomes it.
_BOOT = """
import hashlib, json, os, sys
size, digest = int(sys.argv[1]), sys.argv[2]
data = b""
while len(data) < size:
    part = os.read(0, size - len(data))
    if not part:
        sys.exit(1)
    data += part
def say(**answer):
    os.write(1, json.dumps(answer).encode() + bytes([10]))
    sys.exit(0)
if sys.version_info < (3, 9):
    say(error="device", reason="its Python is %d.%d and must be 3.9 or newer" % sys.version_info[:2])
import importlib.util
absent = [name for name in ("numpy", "onnxruntime") if importlib.util.find_spec(name) is None]
if absent:
    say(error="missing", module=absent[-1], reason=" and ".join(absent) + " not installed")
folder = os.path.join(os.path.expanduser("~"), ".cache", "nasmyth")
path = os.path.join(folder, "runner-" + digest[:16] + ".py")
try:
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(path) or open(path, "rb").read() != data:
        temporary = path + "." + str(os.getpid())
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
except OSError as error:
    say(error="device", reason="the runner cannot be written to %s: %s" % (folder, error.strerror))
os.execv(sys.executable, [sys.executable, path, "supervise", os.path.join(folder, "models")])
"""


@dataclass(frozen=True)
class SshTransport(Transport):
    """A process at the other end of ssh.

    Attributes:
        address: user, host and port.
        identity: file of the private key; ssh's own choice when `None`.
        known_hosts: file of the host keys; ssh's own choice when `None`.
        python: the far side's Python.
    """

    retry_seconds: ClassVar[Sequence[float]] = (0.0, 1.0, 3.0, 9.0)

    address: Address
    identity: str | None = None
    known_hosts: str | None = None
    python: str = "python3"
    where: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", str(self.address))

    def connect(self) -> Connection:
        program = Path(runner.__file__).read_bytes()
        digest = hashlib.sha256(program).hexdigest()
        # ssh hands one text to the far shell: a constant, a checked path, a number and a hash.
        remote = f"{self.python} -c {shlex.quote(_BOOT)} {len(program)} {digest}"
        command = ssh_command(self.address, self.identity, self.known_hosts, remote)
        connection = ProcessConnection(command, address=self.address)
        connection.send(program)
        return connection

    def install(self, package: str) -> str:
        packages = "onnxruntime numpy" if package in ("onnxruntime", "numpy") else package
        return f"{self.address.command} {self.python} -m pip install {packages}"


def decode(line: bytes) -> dict[str, object] | None:
    """The JSON object of a line; `None` when it is something else, such as the greeting of a login shell."""
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def check_python(path: str) -> str:
    """`path`, when it is plain enough for a command line.

    Raises:
        ValueError: when it has other characters than those of plain paths, or begins with a dash.
    """
    if not re.fullmatch(r"(~/)?[A-Za-z0-9_./][A-Za-z0-9_./+-]*", path):
        raise ValueError(f"python is the path of a program of plain letters, digits and ./_+-, not {path!r}")
    return path
