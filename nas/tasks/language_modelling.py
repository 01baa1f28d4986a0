"""Language modelling: texts as tokens, of which each is predicted from those before it."""

from pathlib import Path

from nas.tasks.task import Task, TaskMetric

BITS_PER_BYTE = TaskMetric("bits_per_byte", "minimize", "bits")
RECALL = TaskMetric("recall", "maximize")


class LanguageModelling(Task):
    """Batches are tokens int64 (n, t) and targets int64 (n, t), of which those that are -100 are not judged."""

    metrics = (BITS_PER_BYTE, RECALL)

    @classmethod
    def load(
        cls,
        source: str,
        *,
        base: Path | None = None,
        vocabulary: int | None = None,
        tokenizer: str | None = None,
        sequence_length: int = 256,
        validation: float = 0.1,
        evaluation_bytes: int | None = 300_000,
        recall_share: float = 0.25,
        recall_sequences: int = 256,
        seed: int = 0,
    ) -> "LanguageModelling":
        """The task of a named source."""
        raise NotImplementedError
