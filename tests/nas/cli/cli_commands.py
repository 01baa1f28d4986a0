"""What the tests of commands share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TINY = Path(__file__).parents[2] / "e2e" / "tiny.yaml"


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON value in the last line of standard output."""
        return json.loads(self.out.splitlines()[-1])


Command = Callable[..., Outcome]
Start = Callable[..., "subprocess.Popen[str]"]
