"""Whether a device classifies images as torch does, but for what its precision explains."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

#: Below this, as many images lost as gained is not believed.
SIGNIFICANCE = 0.01


@dataclass
class Agreement:
    """The classes that a device gives to images, compared with torch's.

    Rounding turns an image from one class to another only when torch nearly ties between the two; and it turns about as many
    from the wrong class to the right one as the other way, which McNemar's exact test judges (McNemar, Psychometrika
    12, 1947).

    Attributes:
        tolerance: of the device's outputs, relative to the largest one.
        images: that were compared.
        correct: that torch classifies correctly.
        lost: that torch classifies correctly and the device does not.
        gained: the other way.
        beyond: of another class on the device than for torch, whose logits for the two differ by more than twice the
            tolerance.
    """

    tolerance: float
    images: int = 0
    correct: int = 0
    lost: int = 0
    gained: int = 0
    beyond: int = 0

    def add(self, expected: Tensor, found: Tensor, expected_hits: Tensor, found_hits: Tensor) -> None:
        """Compare the logits (n, classes) of some images by torch and by the device, and which are right (n,)."""
        classes, others = expected.argmax(1), found.argmax(1)
        gaps = expected.gather(1, classes[:, None]) - expected.gather(1, others[:, None])
        self.beyond += int((gaps > 2 * self.tolerance * expected.abs().max()).sum())
        self.images += len(expected)
        self.correct += int(expected_hits.sum())
        self.lost += int((expected_hits & ~found_hits).sum())
        self.gained += int((found_hits & ~expected_hits).sum())

    @property
    def accuracy(self) -> float:
        """Share of the images that torch classifies correctly."""
        return self.correct / self.images

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test: small where losses outnumber gains, or the reverse, more than chance explains."""
        from scipy.stats import binomtest  # takes a second to import, which most commands need not wait for

        turned = self.lost + self.gained
        return float(binomtest(self.lost, turned).pvalue) if turned else 1.0

    @property
    def explained(self) -> bool:
        """Whether rounding explains all that differs."""
        return not self.beyond and self.p_value >= SIGNIFICANCE

    @property
    def text(self) -> str:
        """What differs, for people."""
        turned = f"{self.lost} images lost and {self.gained} gained against torch's {self.accuracy:.2%}"
        if self.beyond:
            return f"{turned}; the classes of {self.beyond} differ by more than the device's precision explains"
        return f"{turned}, all of which nearly tie between two classes (McNemar's p {self.p_value:.2g})"
