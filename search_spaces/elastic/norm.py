"""Normalisation with elastic channels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic.conv import blocks_of
from search_spaces.elastic.layer import ElasticLayer, check_fits, prefix
from search_spaces.rms_norm import RMSNorm, rms_norm


class ElasticBatchNorm2d(ElasticLayer):
    """`nn.BatchNorm2d` over the first channels.

    The running statistics are a mixture over all subnets that were trained; every subnet that is evaluated or
    exported gets its own by recalibration (Yu and Huang, ICCV 2019).

    Args:
        channels: largest number of channels.
        follows: the grouped convolution whose outputs are normalised.
        epsilon: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, follows: ElasticLayer | None = None, epsilon: float = 1e-5) -> None:
        super().__init__()
        largest = nn.BatchNorm2d(channels, epsilon)
        self.weight, self.bias = largest.weight, largest.bias
        for name, buffer in largest.named_buffers():
            self.register_buffer(name, buffer)
        self.momentum, self.eps = 0.1, largest.eps
        self.channels = channels
        self._follows = (follows,)
        self.active_channels = channels

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, nn.BatchNorm2d) or template.eps != self.eps:
            raise ValueError(f"{self} cannot become {template}")
        check_fits(self, channels=(template.num_features, self.channels))
        self.set_active(active_channels=template.num_features)

    def _prefix(self, tensor: Tensor) -> Tensor:
        return prefix(tensor, 0, self.active_channels, *blocks_of(self._follows[0]))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self._statistics(self.running_mean), self._statistics(self.running_var)
        y = F.batch_norm(
            x, mean, var, self._prefix(self.weight), self._prefix(self.bias), self.training, self.momentum, self.eps
        )
        if self.training:
            self._store(mean, self.running_mean)
            self._store(var, self.running_var)
            self.num_batches_tracked.add_(1)
        return y

    def _statistics(self, buffer: Tensor) -> Tensor:
        """The active part of a buffer: a view that torch updates in place, or a copy that `_store` writes back."""
        active = self._prefix(buffer)
        return active if blocks_of(self._follows[0])[1] == 1 else active.clone()

    def _store(self, active: Tensor, buffer: Tensor) -> None:
        blocks, blocks_max = blocks_of(self._follows[0])
        if blocks_max > 1:
            split = buffer.view(blocks_max, -1)
            split[:blocks, : self.active_channels // blocks] = active.view(blocks, -1)

    def active_state(self) -> dict[str, Tensor]:
        names = ("weight", "bias", "running_mean", "running_var")
        state = {name: self._prefix(getattr(self, name)).detach() for name in names}
        return {**state, "num_batches_tracked": self.num_batches_tracked}

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}"


class ElasticLayerNorm(ElasticLayer):
    """`nn.LayerNorm` over the first entries of the last dimension; mean and variance are of those alone.

    Args:
        features: largest number of entries.
        epsilon: added to the variance.
    """

    def __init__(self, features: int, epsilon: float) -> None:
        super().__init__()
        largest = nn.LayerNorm(features, epsilon)
        self.weight, self.bias, self.eps = largest.weight, largest.bias, epsilon
        self.features = self.active_features = features

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, nn.LayerNorm) or template.eps != self.eps:
            raise ValueError(f"{self} cannot become {template}")
        (features,) = template.normalized_shape
        check_fits(self, features=(features, self.features))
        self.set_active(active_features=features)

    def forward(self, x: Tensor) -> Tensor:
        size = self.active_features
        return F.layer_norm(x, (size,), self.weight[:size], self.bias[:size], self.eps)

    def active_state(self) -> dict[str, Tensor]:
        size = self.active_features
        return {"weight": self.weight[:size].detach(), "bias": self.bias[:size].detach()}

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"


class ElasticGroupNorm(ElasticLayer):
    """`nn.GroupNorm` with one group over the first channels; mean and variance are of those alone.

    Args:
        channels: largest number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        largest = nn.GroupNorm(1, channels)
        self.weight, self.bias, self.eps = largest.weight, largest.bias, largest.eps
        self.channels = self.active_channels = channels

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, nn.GroupNorm) or (template.num_groups, template.eps) != (1, self.eps):
            raise ValueError(f"{self} cannot become {template}")
        check_fits(self, channels=(template.num_channels, self.channels))
        self.set_active(active_channels=template.num_channels)

    def forward(self, x: Tensor) -> Tensor:
        size = self.active_channels
        return F.group_norm(x, 1, self.weight[:size], self.bias[:size], self.eps)

    def active_state(self) -> dict[str, Tensor]:
        size = self.active_channels
        return {"weight": self.weight[:size].detach(), "bias": self.bias[:size].detach()}

    def extra_repr(self) -> str:
        return f"{self.channels}"


class ElasticRMSNorm(ElasticLayer):
    """`RMSNorm` over the first entries of the last dimension; the mean of the squares is of those alone.

    Args:
        features: largest number of entries.
        epsilon: added to the mean of the squares.
    """

    def __init__(self, features: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.eps = RMSNorm(features, epsilon).weight, epsilon
        self.features = self.active_features = features

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, RMSNorm) or template.eps != self.eps:
            raise ValueError(f"{self} cannot become {template}")
        (features,) = template.normalized_shape
        check_fits(self, features=(features, self.features))
        self.set_active(active_features=features)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight[: self.active_features], self.eps)

    def active_state(self) -> dict[str, Tensor]:
        return {"weight": self.weight[: self.active_features].detach()}

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"
