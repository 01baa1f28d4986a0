"""Tasks: the data a network is trained and judged on, with its loss and its metrics."""

from nas.tasks.augment import Augmentation
from nas.tasks.image_classification import ImageClassification
from nas.tasks.language_modelling import LanguageModelling
from nas.tasks.mixing import Mixing
from nas.tasks.task import DataError, Scores, Split, Task, TaskMetric

__all__ = [
    "Task",
    "ImageClassification",
    "LanguageModelling",
    "Augmentation",
    "Mixing",
    "Split",
    "DataError",
    "Scores",
    "TaskMetric",
]
