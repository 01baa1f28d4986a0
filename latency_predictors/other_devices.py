"""What is known of devices other than the one that is calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from latency_predictors.bank import Bank
from latency_predictors.devices.device import Device
from latency_predictors.measurements import Measurements
from latency_predictors.record import Record, digest, stable
from search_spaces import SearchSpace


@dataclass(frozen=True, eq=False)
class OtherDevices(Measurements):
    """The records of several collections, held in memory, so that each file is read once.

    Attributes:
        held: the records, with duplicates where a measurement is in several collections.
    """

    held: tuple[Record, ...] = ()

    @classmethod
    def joined(cls, banks: Iterable[Measurements], space: SearchSpace, phase: str = "inference") -> OtherDevices:
        """What `banks` know of a space and phase.

        Raises:
            ValueError: when a record is damaged.
            OSError: when a bank cannot be read.
        """
        return cls(tuple(record for bank in banks for record in bank.records(space=space, phase=phase)))

    @classmethod
    def known(cls, space: SearchSpace, phase: str = "inference") -> OtherDevices:
        """What ships with the project and what the user measured; errors as for `joined`."""
        return cls.joined([Bank.shipped(), Bank.user()], space, phase)

    def without(self, device: Device, fingerprint: Mapping[str, Any]) -> OtherDevices:
        """All but the device itself, under whatever name it was measured: else it would know its own holdout.

        Args:
            device: the one to leave out.
            fingerprint: what it is now. The same device with another runtime or number of threads is another one.
        """
        own = digest(stable(device.backend, device.options, fingerprint))
        return OtherDevices(tuple(record for record in self.held if digest(record.stable) != own))

    def _all(self) -> Iterable[Record]:
        return self.held
