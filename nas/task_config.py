"""The section of a configuration that names the texts of language modelling, and the task that it makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from nas.section import STRICT, Fraction, Positive
from nas.tasks.language_modelling import LanguageModelling


class _Section(BaseModel):
    model_config = STRICT


class RecallConfig(_Section):
    """Generated sequences of associative recall and copying. They are `share` of each training batch, and the metric
    `recall` is taken on `sequences` others; 0 and 0 for none. What is recalled was seen at most `span` tokens before;
    networks learn it over 64 tokens much sooner than over more."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    sequences: Annotated[int, Field(ge=0)] = 256
    span: Annotated[int, Field(ge=16)] = 512


class LanguageTaskConfig(_Section):
    """Texts: `python-documentation` (of the installed Python), `hf:NAME`, or a file, folder or pattern of .txt and .gz
    files that `nas.tasks.text_sources.load_text` reads. Words are split by a byte-level tokenizer that is trained on the
    training text with `vocabulary` tokens, by default 2,048, or by the one in the file `tokenizer`. A sequence has
    `sequence_length` tokens. `bits_per_byte` is taken on the first part of each validation document, together at most
    `evaluation_bytes`; `validation` is the share of the text that is set aside when the data has no validation text."""

    kind: Literal["language"]
    data: str = "python-documentation"
    vocabulary: Positive | None = None
    tokenizer: str | None = None
    sequence_length: Annotated[int, Field(ge=16)] = 256
    validation: Fraction = 0.1
    evaluation_bytes: Positive | None = 300_000
    recall: RecallConfig = RecallConfig()


def load_language_task(config: LanguageTaskConfig, seed: int) -> LanguageModelling:
    """The task of a configuration; a relative path starts at the directory in `NASMYTH_DATA`, where that is set.

    Raises:
        DataError: the texts, the tokenizer or an option cannot be used.
    """
    base = os.environ.get("NASMYTH_DATA")
    return LanguageModelling.load(
        config.data,
        base=Path(base) if base else None,
        vocabulary=config.vocabulary,
        tokenizer=config.tokenizer,
        sequence_length=config.sequence_length,
        validation=config.validation,
        evaluation_bytes=config.evaluation_bytes,
        recall_share=config.recall.share,
        recall_sequences=config.recall.sequences,
        recall_span=config.recall.span,
        seed=seed,
    )
