from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: Every command with the arguments and options that its help must mention.
COMMANDS = {
    "spaces": ["NAME", "--checkpoint", "--mixer", "--depth", "--texts", "--sequences"],
    "profile": ["CONFIG", "--set", "--sheet", "--json"],
    "run": ["CONFIG", "--set", "--json", "--quiet"],
    "train": ["CONFIG", "--set"],
    "search": ["CONFIG", "--set"],
    "calibrate": ["CONFIG", "--device", "--samples", "--holdout", "--until-error", "--set", "--json"],
    "front": ["RUN", "--json", "--bound"],
    "export": ["RUN", "--where", "--maximize", "--minimize", "--finetune", "--to"],
    "verify": ["DIR", "--device", "--json"],
    "scale": ["CONFIG", "--architecture", "--macs", "--alpha", "--to", "--set", "--json"],
    "report": ["RUN", "--to"],
    "dashboard": ["RUN", "--port"],
    "worker": ["RUN"],
    "device": ["add", "list", "check"],
    "device add": ["NAME", "--backend", "--threads", "--option"],
    "device list": ["--json"],
    "device check": ["NAME"],
    "bank": ["list", "export", "import"],
    "bank list": ["--run", "--json"],
    "bank export": ["FILE.parquet", "--run"],
    "bank import": ["FILE.parquet", "--run"],
}

_ASK_ALL = """
import sys
from nas.cli import main
for words in sys.argv[1:]:
    sys.argv = ["nas", *words.split(), "--help"]
    print("#", words)
    try:
        main()
    except SystemExit as end:
        assert not end.code, words
print("# loaded", *({"torch", "optuna", "numpy", "onnxruntime"} & set(sys.modules)))
"""


def run_python(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "150"},
    ).stdout


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What every command says of itself, and under `loaded` the heavy packages that this took."""
    texts = run_python("-c", _ASK_ALL, "", *COMMANDS).split("# ")[1:]
    return {text.partition("\n")[0].strip(): text.partition("\n")[2] for text in texts}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_the_arguments(helps: dict[str, str], command: str) -> None:
    text = helps[command]
    assert f"Usage: nas {command} " in text
    assert [word for word in COMMANDS[command] if word not in text] == []
    assert len(text.split("Usage")[1].split("─")[0].split()) > 8, "it does not say what the command does"


def test_help_lists_all_commands(helps: dict[str, str]) -> None:
    assert [command for command in COMMANDS if " " not in command and f" {command} " not in helps[""]] == []


def test_help_loads_nothing_heavy(helps: dict[str, str]) -> None:
    assert "loaded" in helps


def test_help_takes_less_than_a_second() -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        assert "quickstart" in run_python("-m", "nas.cli", "--help")
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 1


def test_command_is_installed_beside_python() -> None:
    script = Path(sys.executable).with_name("nas")
    if not script.exists():
        pytest.skip("nasmyth is not installed into this environment")
    found = subprocess.run([str(script), "--help"], check=True, capture_output=True, text=True)
    assert "Usage: nas " in found.stdout
