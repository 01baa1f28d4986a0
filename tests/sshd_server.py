"""A real sshd on this machine: an ordinary process with keys and a home of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import pytest

from latency_predictors import Device

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    home: Path
    device: Device

    def break_connections(self) -> None:
        """As when a cable is pulled: the processes of all connections are gone at once."""
        for pid in children(self.process.pid):
            for each in (*children(pid), pid):
                with suppress(FileNotFoundError, ProcessLookupError):  # it may end by itself meanwhile
                    if b"sshd" in (Path("/proc") / str(each) / "cmdline").read_bytes():
                        os.kill(each, signal.SIGKILL)

    def runners(self) -> list[int]:
        """The runners at the far side, without those that watch them."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.startswith(bytes(self.home)) for word in words) and b"supervise" not in words:
                found.append(int(folder.name))
        return found


def children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@contextmanager
def ssh_server(folder: Path, home: Path) -> Iterator[Server]:
    """Runs until the end of the block; skips the test where there is none.

    Args:
        folder: an empty one, for keys and the configuration.
        home: the home of who logs in.
    """
    if SSHD is None or shutil.which("ssh") is None or not Path("/proc/self/task").exists():
        pytest.skip("there is no sshd: apt-get install openssh-server openssh-client")
    host_key, login = key(folder / "host"), key(folder / "login")
    (folder / "authorized_keys").write_text(login.with_suffix(".pub").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (home / ".bashrc").write_text("echo Welcome to this machine\n")
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f'SetEnv "HOME={home}"\n'
    )
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key.with_suffix('.pub').read_text()}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    device = Device(
        "far",
        ssh=f"{getuser()}@127.0.0.1:{port}",
        identity=str(login),
        known_hosts=str(folder / "known_hosts"),
        python=sys.executable,
    )
    try:
        wait(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        yield Server(process, home, device)
    finally:
        process.terminate()
        process.wait()


def wait(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within 30 seconds")
