"""Which predictor suits a device: several are fitted to the same measurements and tested on the same others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors import metrics
from latency_predictors.predictor import LatencyPredictor
from latency_predictors.registry import get
from search_spaces import SearchSpace
from search_spaces.space import Codes

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

Floats = NDArray[np.float64]

#: Asks for the choice among `DEFAULT` and `RIVALS`.
AUTO = "auto"
DEFAULT = "gaussian_process"
#: Predictors that whole networks calibrate in a moment. Those that measure blocks too (`lookup_table`) or first learn for
#: half a minute (`nasflat`) or minutes (`help`) have to be asked for.
RIVALS = ("nonnegative", "roofline")


@dataclass(frozen=True)
class Entry:
    """How well one predictor does.

    Attributes:
        errors: on the held-out networks, see `metrics.errors`; empty when it could not be calibrated.
        log_error: mean of |log predicted - log measured| on them; `None` likewise.
        skipped: why it could not be calibrated; empty when it was.
    """

    errors: Mapping[str, float]
    log_error: float | None = None
    skipped: str = ""

    def remark(self) -> dict[str, Any]:
        """What there is beside `errors`."""
        return {"skipped": self.skipped} if self.skipped else {"log_error": self.log_error}


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes:
        entries: by the names of the predictors, the default first.
        chosen: name of the one that is used.
        reason: why, in a sentence; empty when it was asked for by name.
    """

    entries: Mapping[str, Entry]
    chosen: str
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, data: Mapping[str, Any]) -> Comparison:
        """Inverse of `document`.

        Raises:
            TypeError: when the values are not those of a comparison.
            KeyError: when something is missing.
        """
        entries = {name: Entry(**entry) for name, entry in data["entries"].items()}
        return cls(entries, data["chosen"], data["reason"])


def contestants(predictor: str) -> tuple[str, ...]:
    """The predictors that `predictor` stands for: itself, or with `auto` the default one and its rivals.

    Raises:
        ValueError: when there is no such predictor.
    """
    if predictor == AUTO:
        return DEFAULT, *RIVALS
    get(predictor)
    return (predictor,)


def rivals(
    wanted: Sequence[str], space: SearchSpace, phase: str, bank: LatencyBank | None
) -> dict[str, LatencyPredictor | Exception]:
    """Predictors that know no device, or why one cannot be made."""
    found: dict[str, LatencyPredictor | Exception] = {}
    for name in wanted:
        try:
            found[name] = get(name)(space, phase, bank)
        except (ValueError, ModuleNotFoundError) as error:
            found[name] = error
    return found


def compare(
    default: LatencyPredictor,
    others: Mapping[str, LatencyPredictor | Exception],
    reference: tuple[Codes, Floats],
    holdout: tuple[Codes, Floats],
) -> tuple[LatencyPredictor, Comparison]:
    """Calibrate all to the same measurements, and choose by their errors on other ones.

    The default is kept unless the mean |log error| of another is lower by more than one standard error of the paired
    differences. So few networks often favour a predictor by chance, and what wins on them does a little worse on all
    others than it did on them.

    Args:
        default: is always calibrated.
        others: those that cannot be are left out, and the comparison says why.
        reference: architectures and latencies in ms to fit to.
        holdout: those to test on.

    Returns:
        The chosen one, calibrated; and the comparison.

    Raises:
        ValueError: when the default cannot be calibrated.
    """
    default.calibrate(*reference)
    entry, own = _test(default, holdout)
    calibrated, entries, losses = {default.name: default}, {default.name: entry}, {default.name: own}
    for name, other in others.items():
        try:
            if isinstance(other, Exception):
                raise other
            other.calibrate(*reference)
            entries[name], losses[name] = _test(other, holdout)
            calibrated[name] = other
        except (ValueError, ModuleNotFoundError) as error:
            entries[name] = Entry({}, skipped=str(error))
    chosen = _choose(default.name, losses)
    return calibrated[chosen], Comparison(entries, chosen, _reason(default.name, chosen, losses))


def _test(predictor: LatencyPredictor, holdout: tuple[Codes, Floats]) -> tuple[Entry, Floats]:
    """Its figures, and the absolute error in the logarithm of each network, shape (n,)."""
    codes, measured_ms = holdout
    prediction = predictor.predict(codes)
    loss = np.abs(np.log(prediction.mean_ms) - np.log(measured_ms))
    return Entry(metrics.errors(prediction, measured_ms), float(loss.mean())), loss


def _choose(default: str, losses: Mapping[str, Floats]) -> str:
    better = [name for name in losses if name != default and np.greater(*_gain(losses[default], losses[name]))]
    return min(better, key=lambda name: float(losses[name].mean()), default=default)


def _gain(default: Floats, other: Floats) -> tuple[float, float]:
    """By how much the mean error is lower with `other`, and the standard error of that."""
    difference = default - other
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _reason(default: str, chosen: str, losses: Mapping[str, Floats]) -> str:
    n = len(losses[default])
    if len(losses) == 1:
        return ""
    if chosen == default:
        return (
            f"{default} is used: on the {n} held-out networks no other predictor has a mean |log error| that is lower "
            "by more than one standard error of the difference"
        )
    gain, error = _gain(losses[default], losses[chosen])
    return (
        f"{chosen} is used in place of {default}: on the {n} held-out networks its mean |log error| is "
        f"{losses[chosen].mean():.3f}, lower by {gain:.3f} with a standard error of {error:.3f}. "
        "It was chosen on these networks, so expect somewhat larger errors on others"
    )
