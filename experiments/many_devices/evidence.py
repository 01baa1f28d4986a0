"""All that is on record, by network, device, method and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.many_devices.comparing import Point, points
from experiments.many_devices.measuring import session
from experiments.many_devices.settings import Settings
from experiments.rows import Row


@dataclass(frozen=True)
class Evidence:
    """What tables and pictures are made from.

    Attributes:
        settings: of the experiment.
        networks: their rows by key.
        ms: measured latencies by device and key.
        failures: why a network could not be measured, by device and key.
        choices: the networks chosen at limits; those of a study on MACs have no device.
    """

    settings: Settings
    networks: Mapping[str, Row]
    ms: Mapping[str, Mapping[str, float]]
    failures: Mapping[str, Mapping[str, str]]
    choices: tuple[Row, ...]

    @classmethod
    def read(cls, settings: Settings) -> Evidence:
        """From the rows of an experiment."""
        rows = settings.rows
        sessions = {device.name: session(settings, device.name) for device in settings.devices}
        ms = {
            name: {key: ms for key, ms in zip(found["keys"], found["latency_ms"], strict=True) if ms is not None}
            for name, found in sessions.items()
        }
        failures = {name: found["failures"] for name, found in sessions.items()}
        networks = {row["key"]: row for row in rows.read("network")}
        return cls(settings, networks, ms, failures, tuple(rows.read("choice")))

    @property
    def devices(self) -> list[str]:
        """Their names."""
        return list(self.ms)

    @property
    def accuracy(self) -> dict[str, float]:
        """On the test images, 0..1, by key."""
        return {key: row["test"] for key, row in self.networks.items()}

    def of(self, method: str, seed: int | None = None, device: str | None = None) -> list[Row]:
        """What a method chose, of one seed or all, for one device or all; where there is a network."""
        return [
            row
            for row in self.choices
            if row["method"] == method
            and row["key"] is not None
            and seed in (None, row["seed"])
            and (device is None or row["device"] in (None, device))
        ]

    def seeds(self, method: str) -> list[int]:
        """Those that a method was searched with."""
        return sorted({row["seed"] for row in self.choices if row["method"] == method})

    def points(self, method: str, seed: int, device: str) -> list[Point]:
        """What a method chose for a device, measured there."""
        keys = [row["key"] for row in self.of(method, seed, device)]
        return points(keys, self.ms[device], self.accuracy)

    def alone(self) -> dict[str, list[str]]:
        """Keys of the networks that were trained alone, by family."""
        families: dict[str, list[str]] = {}
        for key, row in self.networks.items():
            if row["family"] != "supernet":
                families.setdefault(row["family"], []).append(key)
        return families
