"""A run is a directory; every stage leaves a file there, and a stage whose file exists is not done again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config import CONFIGURATION, RunConfig, load
from nas.errors import UsageError
from nas.files import locked, read_json, read_tensors, write_bytes, write_json, write_tensors, write_text
from search_spaces.supernet import Supernet

#: Keys that may change at any time.
_FREE = (
    "directory",
    "search.evaluations",
    "search.attempts",
    "search.patience",
    "export.",
    "calibration.max_seconds",
    "training.checkpoint_seconds",
    "training.tensorboard",
    "training.processes",
)

#: Keys on which each part of a run depends: once it exists, they may not change.
_FIXED_BY = {
    "calibration": ("seed", "space.", "calibration.", "engine"),
    "supernet": ("seed", "space.", "task.", "training.", "threads"),
    "study": ("seed", "space.", "task.", "training.", "threads", "name", "devices", "search."),
}


@dataclass(frozen=True)
class Run:
    """Where the parts of a run are.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """The configuration with every key."""
        return self.path / CONFIGURATION

    @property
    def weights_file(self) -> Path:
        """The trained supernet."""
        return self.path / "supernet.safetensors"

    @property
    def training_file(self) -> Path:
        """What training gave, epoch by epoch."""
        return self.path / "training.json"

    @property
    def pretrained_file(self) -> Path:
        """The weights with which the training began, if there were any."""
        return self.path / "pretrained.json"

    @property
    def training_log_file(self) -> Path:
        """The epochs of a training so far, one JSON object a line."""
        return self.path / "training.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def finetuning(self) -> Path:
        """Folder of interrupted fine-tunings."""
        return self.path / "finetune"

    @property
    def checkpoint_file(self) -> Path:
        """The interrupted training; gone once it is complete."""
        return self.path / "training.checkpoint"

    @property
    def journal_file(self) -> Path:
        """The study, unless it is in a database."""
        return self.path / "study.journal"

    @property
    def study_file(self) -> Path:
        """Where the study is, when it is in a database; its presence says that a search was started."""
        return self.path / "study.json"

    @property
    def bank_file(self) -> Path:
        """All measurements that were made for the run, with their raw samples."""
        return self.path / "bank.jsonl"

    @property
    def locks(self) -> Path:
        """Folder of the locks that living processes hold."""
        return self.path / "locks"

    @property
    def report_file(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def bundle(self) -> Path:
        """The network that `nas run` chose."""
        return self.path / "exports" / "chosen"

    @property
    def verification_file(self) -> Path:
        """What the verification of `bundle` found."""
        return self.path / "exports" / "chosen.verification.json"

    def calibration_file(self, device: str, phase: str | None = None) -> Path:
        """Measurements and predictor of a device; of one phase of the networks where they have several."""
        return self.path / "calibration" / (f"{device}.json" if phase is None else f"{device}.{phase}.json")

    def blocks_file(self, device: str) -> Path:
        """Latencies of single blocks on a device, for predictors that need them."""
        return self.path / "calibration" / "blocks" / f"{device}.json"

    @classmethod
    def existing(cls, path: Path) -> tuple[Run, RunConfig]:
        """The run in a directory and its configuration.

        Raises:
            UsageError: when it is not a run.
        """
        run = cls(path)
        if not run.config_file.exists():
            raise UsageError(f"{path} is not a run: it has no config.yaml; 'nas run CONFIG' makes one")
        return run, load(run.config_file)

    @classmethod
    def open(cls, config: RunConfig) -> Run:
        """The run of a configuration; it is made, or checked against the configuration that its parts were made with.

        Raises:
            UsageError: when a key differs that an existing part depends on.
        """
        run = cls(config.run_directory)
        if run.config_file.exists():
            run._check_unchanged(load(run.config_file), config)
        write_text(run.config_file, config.to_yaml())
        return run

    def _check_unchanged(self, stored: RunConfig, config: RunConfig) -> None:
        for key, old, new in _differences(stored.model_dump(mode="json"), config.model_dump(mode="json")):
            for part in self._parts():
                if _decides(key, part):
                    raise UsageError(
                        f"the {part} in {self.path} was made with {key} = {old!r}, now it is {new!r}; "
                        "use the old value, another 'name' or 'directory', or delete the run"
                    )

    def _parts(self) -> list[str]:
        """The parts that exist, finished or not."""
        found = {
            "calibration": any(self.path.glob("calibration/*.json")),
            "supernet": self.checkpoint_file.exists() or self.weights_file.exists(),
            "study": self.journal_file.exists() or self.study_file.exists(),
        }
        return [part for part, exists in found.items() if exists]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other `nas run` processes out.

        Raises:
            UsageError: when one is at work.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.locks / "run.lock", wait=False))
            except BlockingIOError as error:
                raise UsageError(
                    f"another process is at work on {self.path}; wait for it, or start a 'nas worker'"
                ) from error
            yield

    def save_supernet(self, supernet: Supernet, training: dict[str, Any]) -> None:
        """Keep a trained supernet; its presence says that training is complete."""
        write_json(self.training_file, training)
        write_tensors(self.weights_file, supernet.state_dict())
        self.checkpoint_file.unlink(missing_ok=True)

    def take_supernet(self, other: Run, theirs: RunConfig, ours: RunConfig) -> None:
        """Keep the trained supernet of another run as this run's own.

        Args:
            other: the run that has it.
            theirs: its configuration.
            ours: the configuration of this run.

        Raises:
            UsageError: when it has none, or was trained in another way than this run's would be.
        """
        if not other.weights_file.exists():
            raise UsageError(f"{other.path} has no trained supernet yet; 'nas train' makes it")
        for key, old, new in _differences(theirs.model_dump(mode="json"), ours.model_dump(mode="json")):
            if _decides(key, "supernet"):
                raise UsageError(
                    f"the supernet in {other.path} was made with {key} = {old!r}, this run has {new!r}; use the same value"
                )
        if other.pretrained_file.exists():
            write_bytes(self.pretrained_file, other.pretrained_file.read_bytes())
        write_bytes(self.training_file, other.training_file.read_bytes())
        write_bytes(self.weights_file, other.weights_file.read_bytes())

    def load_supernet(self, supernet: Supernet) -> None:
        """Put the trained weights into `supernet`.

        Raises:
            UsageError: when there are none, or they do not fit.
        """
        if not self.weights_file.exists():
            raise UsageError(f"{self.path} has no trained supernet yet; 'nas train' makes it")
        try:
            supernet.load_state_dict(read_tensors(self.weights_file))
        except RuntimeError as error:
            raise UsageError(
                f"{self.weights_file} does not fit the space of this run; delete it to train again"
            ) from error

    def training(self) -> dict[str, Any]:
        """What training gave."""
        data: dict[str, Any] = read_json(self.training_file)
        return data


def _decides(key: str, part: str) -> bool:
    """Whether what a part of a run is depends on a key."""
    return key.startswith(_FIXED_BY[part]) and not key.startswith(_FREE)


def _differences(stored: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, old and new value of all that differs; a key that is missing has the value `None`."""
    for key in {**stored, **wanted}:
        old, new = stored.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new
