"""What a verification finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

#: Metrics of tasks: what they are taken on, and how they are written.
_TESTED = MappingProxyType(
    {"accuracy": ("images", "{:.2%}"), "bits_per_byte": ("text", "{:.3f}"), "recall": ("sequences", "{:.1%}")}
)


@dataclass(frozen=True)
class Check:
    """What was expected and what was found, in words and units.

    Attributes:
        name: what was checked.
        passed: whether it holds.
        expected: for people.
        found: for people.
    """

    name: str
    passed: bool
    expected: str
    found: str


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        device: its name.
        checks: each passed or not.
        measured: figures by name: `latency_ms`, `median_ms`, `repeat_error` and `drift` (of a space with several phases
            of each, such as `prefill_512_ms` and `prefill_512_drift`), the metrics of the task on validation data, and
            on test data (`test_accuracy`), `size_mb`, `parity`, and quantities of the device that limits or the
            calibration name, such as `peak_memory_mb` or `decode_2048_peak_memory_mb`.
        notes: what was measured beside latency against what was predicted, for people; limits alone judge it.
    """

    device: str
    checks: tuple[Check, ...]
    measured: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> str:
        """Names of the checks that did not pass, for people."""
        return ", ".join(check.name for check in self.checks if not check.passed)

    @property
    def remarks(self) -> list[str]:
        """Sentences on what was measured and is not judged: quantities beside latency, metrics on test data."""
        notes = [f"{name}: {note}" for name, note in self.notes.items()]
        return [*notes, *(f"{name}, which nothing else has used: {text}" for name, text in self.on_test.items())]

    @property
    def on_test(self) -> dict[str, str]:
        """The metrics of the task on test data by what people call them."""
        return {
            f"{name.replace('_', ' ')} on test {data}": text.format(self.measured[f"test_{name}"])
            for name, (data, text) in _TESTED.items()
            if f"test_{name}" in self.measured
        }

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        checks = [asdict(check) for check in self.checks]
        found = {"measured": self.measured, "notes": self.notes}
        return {"device": self.device, "passed": self.passed, "checks": checks, **found}

    @classmethod
    def from_document(cls, data: dict[str, Any]) -> Verification:
        """Inverse of `document`."""
        checks = tuple(Check(**check) for check in data["checks"])
        return cls(data["device"], checks, data["measured"], data.get("notes", {}))
