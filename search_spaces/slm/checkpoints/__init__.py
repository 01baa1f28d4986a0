"""Language models of Hugging Face's transformers as supernets, and subnets as such models again.

options = checkpoint_options(directory)
supernet = search_spaces.get("hybrid-slm", **options).build_supernet()
supernet.load_pretrained("transformers", directory)
...
export_checkpoint(supernet.extract(architecture), other_directory, original=directory)
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
