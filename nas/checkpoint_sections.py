"""The part of a configuration that makes a space around a language model that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import search_spaces
from nas.config import RunConfig
from nas.errors import UsageError
from nas.search.sequence_evaluation import BATCH_SIZE
from nas.task_kinds import make_task
from nas.tasks.language_modelling import LanguageModelling
from search_spaces.slm.checkpoints import checkpoint_options, rank_layers

NAME, SOURCE = "hybrid-slm", "transformers"

#: Of the steps in which new mixers learn from attention before anything else, unless the reader changes it.
DISTILLATION_SHARE = 0.3

#: On which layers are ranked.
SEQUENCES = 64


def checkpoint_sections(
    directory: str | Path, mixers: Sequence[str] = (), kept_layers: Sequence[Sequence[int]] | None = None
) -> dict[str, Any]:
    """`space` and `training` of a configuration whose largest network is a model of transformers, with its weights.

    Args:
        directory: of the model.
        mixers: that layers may have in place of attention. They begin with what they have in common with it and learn
            to do what it does in the first steps of the training.
        kept_layers: as for `search_spaces.slm.checkpoints.checkpoint_options`.

    Raises:
        ValueError: when the model cannot be represented, or a mixer is unknown.
    """
    options = checkpoint_options(directory, kept_layers=kept_layers, mixers=mixers)
    search_spaces.get(NAME, **options)
    training: dict[str, Any] = {"pretrained": {"source": SOURCE, "path": str(directory)}}
    if mixers:
        training["pretrained"]["copy_attention"] = True
        training["mixer_distillation_share"] = DISTILLATION_SHARE
    return {"space": {"name": NAME, "options": options}, "training": training}


def layers_to_keep(
    directory: str | Path, depths: Sequence[int], config: RunConfig, sequences: int = SEQUENCES
) -> list[list[int]]:
    """For each of `depths` the layers of a model with which it predicts texts best, see `rank_layers`.

    Args:
        directory: of the model.
        depths: numbers of layers.
        config: whose `task` names texts, split by the tokenizer of the model; the seed picks the sequences.
        sequences: of the training text, on which shortened models are judged.

    Raises:
        DataError: when the texts cannot be used.
        UsageError: when they are no texts, or their tokens are not those of the model.
        ValueError: when a depth is impossible, or the model cannot be read.
    """
    options = checkpoint_options(directory)
    task = make_task(config.task, config.seed)
    if not isinstance(task, LanguageModelling):
        raise UsageError(f"layers are ranked on texts: give a configuration with task.kind=language, not {config.name}")
    if len(task.tokenizer) != options["vocabulary"]:
        raise UsageError(
            f"the tokenizer of {config.name} has {len(task.tokenizer)} tokens, the model {options['vocabulary']}; set "
            f"task.tokenizer to the model's own, such as {Path(directory) / 'tokenizer.json'}"
        )
    supernet = search_spaces.get(NAME, **options).build_supernet()
    supernet.load_pretrained(SOURCE, directory)
    return rank_layers(supernet, task.recalibration_batches(sequences, BATCH_SIZE, config.seed), depths)
