"""Texts that go into ssh's command line."""

from __future__ import annotations

import pytest

from latency_predictors import Device
from latency_predictors.devices.ssh import Address, explain, ssh_command


@pytest.mark.parametrize(
    ("text", "user", "host", "port", "target"),
    [
        ("pi@raspberry", "pi", "raspberry", None, "pi@raspberry"),
        ("raspberry", "", "raspberry", None, "raspberry"),
        ("a.b-c_d@10.0.0.7:2222", "a.b-c_d", "10.0.0.7", 2222, "a.b-c_d@10.0.0.7"),
        ("pi@[fe80::1%eth0]:22", "pi", "fe80::1%eth0", 22, "pi@fe80::1%eth0"),
        ("pi@[::1]", "pi", "::1", None, "pi@::1"),
    ],
)
def test_addresses(text: str, user: str, host: str, port: int | None, target: str) -> None:
    address = Address.parse(text)
    assert (address.user, address.host, address.port, address.target) == (user, host, port, target)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "@host", "user@", "-oProxyCommand=touch x", "-l@host", "user@-host", "a b@host", "user@host name", "user@host\n",
        "user@host:0", "user@host:65536", "user@host:-1", "user@host:22:22", "user@host;id", "user@$(id)", "user@`id`",
        "user@host/..", "u@v@host", "user@::1", "user@[::1", "ssh://user@host", "user@host|id", "user@hôst",
    ],
)  # fmt: skip
def test_other_texts_are_refused_when_the_device_is_made(text: str) -> None:
    with pytest.raises(ValueError, match="ssh takes user@host"):
        Address.parse(text)
    with pytest.raises(ValueError, match="ssh takes user@host"):
        Device("board", ssh=text)


def test_paths_and_programs_are_plain() -> None:
    for path in ("", 'a"b', "a%h", "a\nb", "$HOME/key", "a\\b"):
        with pytest.raises(ValueError, match="identity is the path"):
            Device("board", ssh="pi@board", identity=path)
        with pytest.raises(ValueError, match="known_hosts is the path"):
            Device("board", ssh="pi@board", known_hosts=path)
    for program in ("", "-c", "python3 -c", "python3;id", "$(id)", "python3\n", "~pi/python", "'python3'"):
        with pytest.raises(ValueError, match="python is the path"):
            Device("board", ssh="pi@board", python=program)
    Device(
        "board", ssh="pi@board", identity="~/my keys/pi", known_hosts="/etc/hosts keys", python="~/env/bin/python3.11"
    )


def test_only_onnxruntime_is_measured_over_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Device):
        def make_backend(self) -> None:  # type: ignore[override]
            """As if there were such a backend."""

    with pytest.raises(ValueError, match="over ssh only onnxruntime can be measured, not openvino"):
        Other("board", "openvino", ssh="pi@board")


def test_nothing_asks_and_unknown_hosts_are_refused() -> None:
    command = ssh_command(Address.parse("pi@board:2222"), "/my keys/pi", "/hosts", "python3")
    assert command[0] == "ssh"
    assert command[-3:] == ["--", "pi@board", "python3"]
    settings = [command[index + 1] for index, word in enumerate(command) if word == "-o"]
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes"} <= set(settings)
    assert 'IdentityFile="/my keys/pi"' in settings
    assert 'UserKnownHostsFile="/hosts"' in settings
    assert command[command.index("-p") + 1] == "2222"


@pytest.mark.parametrize(
    ("code", "said", "permanent", "sentence"),
    [
        (255, "ssh: connect to host board port 22: Connection refused", False, "Connection refused"),
        (255, "Connection to board closed by remote host.", False, "closed by remote host"),
        (255, "", False, "exit code 255"),
        (255, "pi@board: Permission denied (publickey).", True, "ssh-copy-id"),
        (255, "@@@\nIDENTIFICATION HAS CHANGED!\nHost key verification failed.", True, "ssh-keygen -R"),
        (127, "bash: line 1: python3: command not found", True, "Python 3.9 or newer"),
        (1, "SyntaxError: x", True, "did not start: SyntaxError"),
    ],
)
def test_what_ssh_says_is_explained(code: int, said: str, permanent: bool, sentence: str) -> None:
    found, reason = explain(Address.parse("pi@board"), code, said)
    assert found == permanent
    assert sentence in reason
    assert "pi@board" in reason
    assert "\n" not in reason
