"""Rows of a table, and linear maps that read the table too, with elastic features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic.layer import ElasticLayer, check_fits
from search_spaces.tied import TiedLinear


class ElasticEmbedding(ElasticLayer):
    """`nn.Embedding` whose rows have the first features.

    Args:
        rows: of the table.
        features: largest number of them.
    """

    def __init__(self, rows: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Embedding(rows, features).weight
        self.rows, self.features = rows, features
        self.active_features = features

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, nn.Embedding) or template.num_embeddings != self.rows:
            raise ValueError(f"{self} cannot become {template}")
        check_fits(self, features=(template.embedding_dim, self.features))
        self.set_active(active_features=template.embedding_dim)

    def forward(self, numbers: Tensor) -> Tensor:
        return F.embedding(numbers, self.weight[:, : self.active_features])

    def active_state(self) -> dict[str, Tensor]:
        return {"weight": self.weight[:, : self.active_features].detach()}

    def extra_repr(self) -> str:
        return f"{self.rows}, {self.features}"


class ElasticTiedLinear(ElasticLayer, TiedLinear):
    """`TiedLinear` over the first inputs."""

    def __init__(self, in_features: int, out_features: int) -> None:
        TiedLinear.__init__(self, in_features, out_features)
        self.active_in = in_features

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, TiedLinear) or template.out_features != self.out_features:
            raise ValueError(f"{self} cannot become {template}")
        check_fits(self, in_features=(template.in_features, self.in_features))
        self.set_active(active_in=template.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight[:, : self.active_in])

    def active_state(self) -> dict[str, Tensor]:
        """Nothing: the weight is of another layer."""
        return {}
