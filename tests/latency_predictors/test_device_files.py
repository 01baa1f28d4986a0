from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from latency_predictors import Device
from latency_predictors.devices.onnxruntime import OnnxRuntime


def write(home: Path, name: str, text: str) -> None:
    folder = home / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)


def test_local_exists_without_a_file(home: Path) -> None:
    device = Device.load("local")
    assert device == Device("local", "onnxruntime", {})
    assert isinstance(device.make_backend(), OnnxRuntime)
    assert device.make_backend().threads == 1
    assert Device.names() == ["local"]
    assert not home.exists()


def test_saving_and_loading(home: Path) -> None:
    device = Device("board_2-fast", options={"threads": 2, "graph_optimization": "basic"})
    path = device.save()
    assert path == home / "devices" / "board_2-fast.yaml"
    assert yaml.safe_load(path.read_text())["options"] == {"threads": 2, "graph_optimization": "basic"}
    assert Device.load("board_2-fast") == device
    assert Device.names() == ["board_2-fast", "local"]
    Device("board_2-fast", options={"threads": 1}).save()
    assert Device.load("board_2-fast").options == {"threads": 1}


def test_a_remote_device_is_saved_and_loaded(home: Path) -> None:
    device = Device(
        "pi", ssh="pi@board:2222", identity="/keys/pi", known_hosts="/keys/hosts", python="~/env/bin/python"
    )
    path = device.save()
    assert yaml.safe_load(path.read_text())["ssh"] == "pi@board:2222"
    assert Device.load("pi") == device
    assert Device(**device.document()) == device
    assert set(Device("plain").document()) == {"name", "backend", "options"}


def test_the_default_folder_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NASMYTH_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Device("board").save() == tmp_path / ".nasmyth" / "devices" / "board.yaml"


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", "a.b", "ä", "a\n"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        Device(name)
    with pytest.raises(ValueError, match="letters, digits"):
        Device.load(name)


def test_local_cannot_be_saved() -> None:
    with pytest.raises(ValueError, match="built in"):
        Device("local", options={"threads": 2}).save()


def test_an_unknown_device_names_the_nearest() -> None:
    Device("raspberry").save()
    with pytest.raises(ValueError, match=r"did you mean 'raspberry'.*nas device add rasberry"):
        Device.load("rasberry")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backend: onnxruntime\nssh: 22", "must give ssh as text"),
        ("backend: onnxruntime\nssh: -oProxyCommand=id@x", "ssh takes user@host"),
        ("backend: onnxruntime\noption: {}", "unknown key 'option' .did you mean 'options'"),
        ("backend: onnxruntim", "did you mean 'onnxruntime'"),
        ("backend: onnxruntime\noptions: {thread: 2}", "did you mean 'threads'"),
        ("backend: onnxruntime\noptions: {threads: many}", "whole number"),
        ("backend: onnxruntime\noptions: {2: 2}", "no option 2"),
        ("backend: onnxruntime\noptions: [threads]", "keys with values"),
        ("options: {threads: 2}", "name a backend"),
        ("", "must hold the keys"),
        ("- backend", "must hold the keys"),
        ("backend: [", "cannot be read"),
        ("backend: !!python/object/apply:os.getcwd []", "cannot be read"),
    ],
)
def test_a_wrong_file_raises_and_is_named(home: Path, text: str, message: str) -> None:
    write(home, "board", text)
    with pytest.raises(ValueError, match=message) as raised:
        Device.load("board")
    assert "board.yaml" in str(raised.value)


def test_a_device_does_not_change_with_the_options_it_was_given() -> None:
    options = {"threads": 1}
    device = Device("board", options=options)
    options["threads"] = 2
    assert device.options == {"threads": 1}
