"""Language models of Hugging Face's transformers as supernets, and subnets as such models again.

A model in `directory` becomes a supernet with

    supernet = search_spaces.get("hybrid-slm", **checkpoint_options(directory)).build_supernet()
    supernet.load_pretrained("transformers", directory)

On a few sequences, `batches` of tokens and targets, one sees which layers to keep and which units matter. The model whose
units were made equally active computes the same, and a training that begins with it orders them well:

    options = checkpoint_options(directory, kept_layers=rank_layers(supernet, batches, depths))
    equalise_activity(supernet, batches)
    export_checkpoint(supernet.extract(supernet.space.largest()), equalised, original=directory)

A subnet becomes a model in the same way: `export_checkpoint(supernet.extract(architecture), other_directory)`.

`nas spaces hybrid-slm --checkpoint directory` prints the same as a configuration: with `--depth` and `--texts` of the layers to
keep, with `--mixer` of other mixers that begin with the weights of attention (`copy_attention`) and learn from it.
"""

from search_spaces.slm.checkpoints.activity import equalise_activity
from search_spaces.slm.checkpoints.config import FAMILIES, CheckpointConfig
from search_spaces.slm.checkpoints.depth import keep_layers, rank_layers
from search_spaces.slm.checkpoints.export import export_checkpoint
from search_spaces.slm.checkpoints.linear import copy_attention
from search_spaces.slm.checkpoints.options import checkpoint_options

__all__ = [
    "FAMILIES",
    "CheckpointConfig",
    "checkpoint_options",
    "copy_attention",
    "equalise_activity",
    "export_checkpoint",
    "keep_layers",
    "rank_layers",
]
