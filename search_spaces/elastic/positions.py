"""Positions of the tokens of an image, of elastic size."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic.layer import ElasticLayer, check_fits
from search_spaces.parameter import Positions


class ElasticPositions(ElasticLayer, Positions):
    """`Positions` over the first features; a smaller grid is interpolated from the largest one.

    Interpolation is bicubic, as that of trained positions for images of another size (Touvron et al., "Training
    data-efficient image transformers", ICML 2021).

    Args:
        grid: largest number of rows, and of columns.
        features: largest number of features.
        leading: tokens before the grid.
    """

    def __init__(self, grid: int, features: int, leading: int = 0) -> None:
        Positions.__init__(self, grid, features, leading)
        self.grid, self.features = grid, features
        self.active_grid, self.active_features = grid, features

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, Positions) or template.leading != self.leading:
            raise ValueError(f"{self} cannot become {template}")
        _, tokens, features = template.weight.shape
        grid = isqrt(tokens - self.leading)
        check_fits(self, grid=(grid, self.grid), features=(features, self.features))
        self.set_active(active_grid=grid, active_features=features)

    def forward(self) -> Tensor:
        weight = self.weight[..., : self.active_features]
        if self.active_grid == self.grid:
            return weight
        leading, tokens = weight[:, : self.leading], weight[:, self.leading :]
        plane = tokens.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        size = (self.active_grid, self.active_grid)
        smaller = F.interpolate(plane, size, mode="bicubic", align_corners=False)
        return torch.cat([leading, smaller.flatten(2).transpose(1, 2)], dim=1)

    def active_state(self) -> dict[str, Tensor]:
        return {"weight": self.forward().detach()}

    def extra_repr(self) -> str:
        return f"grid={self.grid}, {self.features} features, leading={self.leading}"
