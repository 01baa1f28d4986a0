"""What is in examples/ runs: the tutorials from the first command to the last, the configurations with less training."""

from __future__ import annotations

from pathlib import Path

import pytest
from postgres_server import postgres
from sshd_server import ssh_server
from user_commands import run, user_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Less of everything, for a configuration that is only to be seen running, and a limit that no busy machine moves.
LESS = (
    "training.epochs=1",
    "calibration.samples=5",
    "calibration.holdout=5",
    "calibration.max_seconds=4",
    "search.evaluations=4",
    "search.limits=[macs_m <= 95 %]",
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return user_folder(tmp_path)


def tutorial(work: Path, name: str, *arguments: str) -> str:
    return run(work, "bash", str(EXAMPLES / f"{name}.sh"), *arguments)


def test_your_images(work: Path) -> None:
    assert "outputs for one image: (1, 10)" in tutorial(work, "your_images")
    assert (work / "runs" / "photos" / "report.html").exists()


def test_your_device_over_ssh(work: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ssh_server(tmp_path_factory.mktemp("sshd"), tmp_path_factory.mktemp("far")) as server:
        device = server.device
        options = {"--identity": device.identity, "--known-hosts": device.known_hosts, "--python": device.python}
        said = tutorial(
            work, "your_device_over_ssh", str(device.ssh), *(str(w) for pair in options.items() for w in pair)
        )
    assert "latency on pi as" in said


def test_language_model(work: Path) -> None:
    assert "The list " in tutorial(work, "language_model").splitlines()[-1]
    assert (work / "runs" / "writer" / "exports" / "chosen" / "decode.onnx").exists()


def test_your_pretrained_model(work: Path) -> None:
    tutorial(work, "your_pretrained_model")
    assert (work / "chosen" / "decode.onnx").exists()


def test_many_machines(work: Path) -> None:
    with postgres() as server:
        tutorial(work, "many_machines", server.url)
    assert (work / "chosen" / "model.onnx").exists()


@pytest.mark.parametrize("name", sorted(path.stem for path in (EXAMPLES / "configurations").glob("*.yaml")))
def test_configurations(work: Path, name: str) -> None:
    run(work, "nas", "device", "add", "two-threads", "--threads", "2")
    run(work, "nas", "run", str(EXAMPLES / "configurations" / f"{name}.yaml"), *(f"--set={change}" for change in LESS))
    assert (work / "runs" / name / "exports" / "chosen" / "model.onnx").exists()
