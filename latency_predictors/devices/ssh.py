"""The ssh program: whom to connect to, its arguments, and what its errors mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]"
_ADDRESS = re.compile(rf"(?:(?P<user>{_USER})@)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")


@dataclass(frozen=True)
class Address:
    """A machine that ssh reaches.

    Attributes:
        user: the account there; empty for ssh's own choice.
        host: name or IP address, or a name from ssh's configuration.
        port: `None` for ssh's own choice.
    """

    user: str
    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `user@host`, `host` or `user@host:port`; an IPv6 address stands in brackets.

        Raises:
            ValueError: for anything else, so that no text is ever taken for an option of ssh.
        """
        found = _ADDRESS.fullmatch(text)
        port = int(found["port"]) if found and found["port"] else None
        if not found or (port is not None and not 1 <= port <= 65535):
            raise ValueError(f"ssh takes user@host or user@host:port, not {text!r}")
        return cls(found["user"] or "", found["host"].strip("[]"), port)

    @property
    def target(self) -> str:
        """User and host as ssh takes them."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def command(self) -> str:
        """What a person types to get there."""
        return f"ssh -p {self.port} {self.target}" if self.port else f"ssh {self.target}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")


def check_path(name: str, path: str) -> str:
    """`path`, when ssh reads it as it stands.

    Raises:
        ValueError: when it has a character that ssh's configuration gives a meaning to.
    """
    if not path or re.search(r'["%$\\\x00-\x1f]', path):
        raise ValueError(f'{name} is the path of a file without ", %, $ and \\, not {path!r}')
    return path


def ssh_command(address: Address, identity: str | None, known_hosts: str | None, remote: str) -> list[str]:
    """The arguments that run `remote` at `address` without asking anybody anything."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ClearAllForwardings": "yes",
    }
    if identity is not None:
        options |= {"IdentitiesOnly": "yes", "IdentityFile": _quoted(identity)}
    if known_hosts is not None:
        options |= {"UserKnownHostsFile": _quoted(known_hosts), "GlobalKnownHostsFile": "none"}
    port = [] if address.port is None else ["-p", str(address.port)]
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-T", *settings, *port, "--", address.target, remote]


def _quoted(path: str) -> str:
    return f'"{Path(path).expanduser()}"'


def explain(address: Address, code: int, said: str) -> tuple[bool, str]:
    """Why ssh ended: whether trying again is useless, and a sentence.

    Args:
        address: where to.
        code: ssh's exit code; 255 for its own errors, else that of the remote command.
        said: what it wrote to standard error.
    """
    lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
    last = lines[-1] if lines else f"ssh ended with exit code {code}"
    for number, mark, sentence in _MEANINGS:
        if code == number and mark in said:
            return True, sentence.format(address=address, command=address.command, host=_known_name(address))
    if code == 255:
        return False, f"the connection to {address} broke or could not be made: {last}"
    return True, f"the runner on {address} did not start: {last}"


def _known_name(address: Address) -> str:
    """As known_hosts has it."""
    return f"[{address.host}]:{address.port}" if address.port not in (None, 22) else address.host


_MEANINGS = (
    (
        255,
        "IDENTIFICATION HAS CHANGED",
        "the host key of {address} is not the one that is known: refused; if the machine was set up anew, remove the "
        "old key with `ssh-keygen -R {host}` and connect once with `{command}`",
    ),
    (
        255,
        "Host key verification failed",
        "the host key of {address} is not known: refused; connect once with `{command}`, compare the fingerprint it "
        "shows with that of the machine, and accept it",
    ),
    (
        255,
        "Permission denied (",
        "{address} refuses the login: `{command}` must work without a password (ssh-copy-id installs your key there)",
    ),
    (
        127,
        "",
        "there is no such Python on {address}: install Python 3.9 or newer there, or name it with --python",
    ),
)
