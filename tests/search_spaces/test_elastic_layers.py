"""Elastic layers one by one, against torch's layers whose weights were picked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from search_spaces.elastic import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticLayer,
    ElasticLayerNorm,
    ElasticLayers,
    ElasticLinear,
    ElasticParameter,
    ElasticPositions,
)
from search_spaces.elastic.layer import copy_active
from search_spaces.parameter import Parameter, Positions


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def conv_template(in_channels: int, out_channels: int, kernel: int = 1, **options: int | bool) -> nn.Conv2d:
    options = {"bias": False, **options}
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, **options)  # type: ignore[arg-type]


def check(layer: ElasticLayer, template: nn.Module, expected: nn.Module, x: Tensor) -> None:
    """`layer`, activated as `template`, computes what `expected` does, and its state makes a new one do so."""
    layer.activate(template)
    torch.testing.assert_close(layer(x), expected(x))
    template.load_state_dict(layer.active_state())
    torch.testing.assert_close(template(x), expected(x))


def grouped_outputs(active_groups: int, out_per_group: int, largest_per_group: int) -> list[int]:
    """Output channels that a grouped convolution keeps: the first of each of the first groups."""
    return [group * largest_per_group + channel for group in range(active_groups) for channel in range(out_per_group)]


class TestConv:
    @pytest.mark.parametrize(("i", "o"), [(6, 10), (4, 10), (6, 7), (1, 1), (5, 3)])
    def test_channels_are_a_prefix(self, i: int, o: int) -> None:
        layer = ElasticConv2d(6, 10, (3,), stride=2, bias=True)
        expected = conv_template(i, o, 3, stride=2, bias=True)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:o, :i])
            assert expected.bias is not None
            assert layer.bias is not None
            expected.bias.copy_(layer.bias[:o])
        check(layer, conv_template(i, o, 3, stride=2, bias=True), expected, torch.randn(2, i, 7, 7))

    @pytest.mark.parametrize("channels", [8, 5, 1])
    def test_depthwise_channels_are_a_prefix(self, channels: int) -> None:
        layer = ElasticConv2d(8, 8, (3,), groups=8)
        expected = conv_template(channels, channels, 3, groups=channels)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:channels])
        template = conv_template(channels, channels, 3, groups=channels)
        check(layer, template, expected, torch.randn(2, channels, 5, 5))

    @pytest.mark.parametrize(("groups", "per_group"), [(3, 6), (3, 4), (2, 6), (2, 2), (1, 3)])
    def test_grouped_keeps_the_first_groups_and_the_first_outputs_of_each(self, groups: int, per_group: int) -> None:
        layer = ElasticConv2d(12, 18, (3,), groups=3)  # four channels into each group, six out of it
        rows = grouped_outputs(groups, per_group, 6)
        expected = conv_template(4 * groups, groups * per_group, 3, groups=groups)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[rows])
        template = conv_template(4 * groups, groups * per_group, 3, groups=groups)
        check(layer, template, expected, torch.randn(2, 4 * groups, 5, 5))

    @pytest.mark.parametrize(("groups", "per_group"), [(3, 6), (2, 6), (2, 2), (1, 3)])
    def test_a_layer_after_a_grouped_one_reads_the_same_channels(self, groups: int, per_group: int) -> None:
        grouped = ElasticConv2d(12, 18, (3,), groups=3)
        layer = ElasticConv2d(18, 5, (1,), follows=grouped)
        grouped.activate(conv_template(4 * groups, groups * per_group, 3, groups=groups))
        columns = grouped_outputs(groups, per_group, 6)
        expected = conv_template(len(columns), 4)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:4, columns])
        check(layer, conv_template(len(columns), 4), expected, torch.randn(2, len(columns), 5, 5))

    def test_a_layer_after_a_depthwise_one_reads_a_prefix(self) -> None:
        depthwise = ElasticConv2d(8, 8, (3,), groups=8)
        layer = ElasticConv2d(8, 3, (1,), follows=depthwise)
        depthwise.activate(conv_template(5, 5, 3, groups=5))
        expected = conv_template(5, 3)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:, :5])
        check(layer, conv_template(5, 3), expected, torch.randn(2, 5, 4, 4))

    def test_matrices_start_as_the_centre_of_the_kernel(self) -> None:
        layer = ElasticConv2d(2, 3, (3, 5, 7))
        for kernel, margin in ((5, 1), (3, 2)):
            layer.activate(conv_template(2, 3, kernel))
            centre = layer.weight[:, :, margin : 7 - margin, margin : 7 - margin]
            torch.testing.assert_close(layer.active_state()["weight"], centre.detach())

    @pytest.mark.parametrize(("kernel", "i", "o"), [(5, 2, 3), (3, 2, 3), (3, 1, 2)])
    def test_kernel_matrices_against_a_loop(self, kernel: int, i: int, o: int) -> None:
        layer = ElasticConv2d(2, 3, (3, 5, 7))
        with torch.no_grad():
            for matrix in layer.kernel_matrices.values():
                matrix.copy_(torch.randn_like(matrix))
        weight = layer.weight.detach()
        for large, small in [(7, 5), (5, 3)]:
            if large <= kernel:
                break
            matrix = layer.kernel_matrices[f"{large}to{small}"].detach()
            smaller = torch.empty(3, 2, small, small)
            for out in range(3):
                for channel in range(2):
                    centre = weight[out, channel, 1 : 1 + small, 1 : 1 + small].reshape(-1)
                    for position in range(small * small):
                        value = sum(matrix[position, other] * centre[other] for other in range(small * small))
                        smaller[out, channel, position // small, position % small] = value
            weight = smaller
        expected = conv_template(i, o, kernel)
        with torch.no_grad():
            expected.weight.copy_(weight[:o, :i])
        check(layer, conv_template(i, o, kernel), expected, torch.randn(2, i, 9, 9))

    def test_gradients_reach_the_matrices_on_the_way_and_the_active_weights_only(self) -> None:
        layer = ElasticConv2d(4, 6, (3, 5, 7))
        layer.activate(conv_template(3, 5, 5))
        layer(torch.randn(2, 3, 9, 9)).square().sum().backward()
        assert layer.kernel_matrices["7to5"].grad is not None
        assert layer.kernel_matrices["5to3"].grad is None
        gradient = layer.weight.grad
        assert gradient is not None
        assert (gradient[:5, :3, 1:6, 1:6] != 0).all()
        assert gradient.count_nonzero() == 5 * 3 * 5 * 5

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            (conv_template(5, 6, 3), "in_channels = 5 is more than the 4"),
            (conv_template(4, 7, 3), "out_channels = 7 is more than the 6"),
            (conv_template(4, 6, 7), "no kernel size 7"),
            (conv_template(4, 6, 3, groups=2), "groups = 2 is more than the 1"),
            (conv_template(4, 6, 3, stride=2), "cannot become Conv2d"),
            (conv_template(4, 6, 3, bias=True), "cannot become Conv2d"),
            (nn.Linear(4, 6), "cannot become Linear"),
        ],
    )
    def test_templates_that_do_not_fit_raise(self, template: nn.Module, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ElasticConv2d(4, 6, (3, 5)).activate(template)

    def test_groups_of_another_width_raise(self) -> None:
        with pytest.raises(ValueError, match="cannot become"):
            ElasticConv2d(12, 12, (3,), groups=3).activate(conv_template(12, 12, 3, groups=2))


class TestLinear:
    @pytest.mark.parametrize(("i", "o"), [(6, 4), (3, 4), (6, 1), (2, 3)])
    def test_features_are_a_prefix(self, i: int, o: int) -> None:
        layer, expected = ElasticLinear(6, 4), nn.Linear(i, o)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:o, :i])
            expected.bias.copy_(layer.bias[:o])
        check(layer, nn.Linear(i, o), expected, torch.randn(3, i))

    def test_templates_that_do_not_fit_raise(self) -> None:
        with pytest.raises(ValueError, match="in_features = 7 is more than the 6"):
            ElasticLinear(6, 4).activate(nn.Linear(7, 4))
        with pytest.raises(ValueError, match="out_features = 5 is more than the 4"):
            ElasticLinear(6, 4).activate(nn.Linear(6, 5))
        with pytest.raises(ValueError, match="cannot become Conv2d"):
            ElasticLinear(6, 4).activate(nn.Conv2d(6, 4, 1))


class TestBatchNorm:
    @staticmethod
    def scrambled(layer: ElasticBatchNorm2d) -> ElasticBatchNorm2d:
        with torch.no_grad():
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                tensor.copy_(torch.randn_like(tensor))
            layer.running_var.uniform_(0.5, 2)
        return layer

    @staticmethod
    def expected(layer: ElasticBatchNorm2d, channels: list[int]) -> nn.BatchNorm2d:
        norm = nn.BatchNorm2d(len(channels))
        norm.load_state_dict(
            {name: tensor if not tensor.dim() else tensor[channels] for name, tensor in layer.state_dict().items()}
        )
        return norm

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("channels", [6, 4, 1])
    def test_channels_are_a_prefix(self, channels: int, training: bool) -> None:
        layer = self.scrambled(ElasticBatchNorm2d(6)).train(training)
        self.compare(layer, list(range(channels)), training)

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize(("groups", "per_group"), [(3, 6), (3, 4), (2, 6), (2, 2), (1, 3)])
    def test_channels_are_those_of_the_grouped_convolution(self, groups: int, per_group: int, training: bool) -> None:
        conv = ElasticConv2d(12, 18, (3,), groups=3)
        conv.activate(conv_template(4 * groups, groups * per_group, 3, groups=groups))
        layer = self.scrambled(ElasticBatchNorm2d(18, follows=conv)).train(training)
        self.compare(layer, grouped_outputs(groups, per_group, 6), training)

    def compare(self, layer: ElasticBatchNorm2d, channels: list[int], training: bool) -> None:
        expected = self.expected(layer, channels).train(training)
        before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
        layer.activate(nn.BatchNorm2d(len(channels)))
        for _ in range(2):
            x = 1 + 2 * torch.randn(4, len(channels), 3, 3)
            torch.testing.assert_close(layer(x), expected(x))
        torch.testing.assert_close(layer.active_state(), dict(expected.state_dict()))
        assert int(layer.num_batches_tracked) == (2 if training else 0)
        # Exactly the places of the active channels were written.
        elsewhere = [channel for channel in range(layer.channels) if channel not in channels]
        for name in ("running_mean", "running_var"):
            after = layer.get_buffer(name)
            torch.testing.assert_close(after[channels], expected.get_buffer(name))
            assert torch.equal(after[elsewhere], before[name][elsewhere])
            assert torch.equal(after[channels], before[name][channels]) is not training

    def test_templates_that_do_not_fit_raise(self) -> None:
        with pytest.raises(ValueError, match="channels = 7 is more than the 6"):
            ElasticBatchNorm2d(6).activate(nn.BatchNorm2d(7))
        with pytest.raises(ValueError, match="cannot become BatchNorm2d"):
            ElasticBatchNorm2d(6, epsilon=1e-3).activate(nn.BatchNorm2d(6))
        with pytest.raises(ValueError, match="cannot become BatchNorm1d"):
            ElasticBatchNorm2d(6).activate(nn.BatchNorm1d(6))


class TestFactory:
    def test_only_the_largest_kernel_is_elastic(self) -> None:
        layers = ElasticLayers((5, 3))
        largest, point = layers.conv(2, 2, 5), layers.conv(2, 2, 1)
        assert isinstance(largest, ElasticConv2d)
        assert isinstance(point, ElasticConv2d)
        assert (largest.kernels, point.kernels) == ((3, 5), (1,))

    def test_an_elastic_layer_follows_elastic_layers_only(self) -> None:
        with pytest.raises(TypeError, match="follows elastic layers only"):
            ElasticLayers((3,)).norm(4, follows=nn.Conv2d(4, 4, 1))


class TestCopyActive:
    def test_plain_layers_are_copied_as_they_are(self) -> None:
        elastic = nn.Sequential(ElasticLinear(4, 3), nn.BatchNorm1d(2))
        elastic[1].running_mean.fill_(5)  # type: ignore[union-attr, operator]
        static = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        elastic[0].activate(static[0])  # type: ignore[operator]
        copy_active(elastic, static)
        assert static[1].running_mean.tolist() == [5, 5]  # type: ignore[union-attr, operator]
        assert torch.equal(static[0].weight, elastic[0].weight[:2, :3])  # type: ignore[index]
        static[1].running_mean.zero_()  # type: ignore[union-attr, operator]
        assert elastic[1].running_mean.tolist() == [5, 5]  # type: ignore[union-attr, operator]

    def test_other_shapes_raise(self) -> None:
        with pytest.raises(RuntimeError, match="size mismatch"):
            copy_active(nn.Sequential(ElasticLinear(4, 3)), nn.Sequential(nn.Linear(3, 3)))


class TestLayerNorm:
    @pytest.mark.parametrize("features", [6, 4, 1])
    def test_statistics_are_of_the_active_features(self, features: int) -> None:
        layer = ElasticLayerNorm(6, 1e-3)
        with torch.no_grad():
            layer.weight.normal_()
            layer.bias.normal_()
        expected = nn.LayerNorm(features, 1e-3)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:features])
            expected.bias.copy_(layer.bias[:features])
        check(layer, nn.LayerNorm(features, 1e-3), expected, torch.randn(2, 5, features))

    @pytest.mark.parametrize("template", [nn.LayerNorm(7, 1e-3), nn.LayerNorm(4, 1e-5), nn.BatchNorm2d(4)])
    def test_what_does_not_fit_raises(self, template: nn.Module) -> None:
        with pytest.raises(ValueError, match=r"features = 7 is more|cannot become"):
            ElasticLayerNorm(6, 1e-3).activate(template)


class TestLinearWithoutBias:
    def test_it_is_a_prefix_of_rows_and_columns(self) -> None:
        layer = ElasticLinear(5, 7, bias=False)
        expected = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:2, :3])
        check(layer, nn.Linear(3, 2, bias=False), expected, torch.randn(4, 3))

    def test_a_template_with_bias_raises(self) -> None:
        with pytest.raises(ValueError, match="cannot become"):
            ElasticLinear(5, 7, bias=False).activate(nn.Linear(5, 7))


class TestParameter:
    def test_it_is_a_prefix_of_every_dimension(self) -> None:
        layer = ElasticParameter(1, 5, 4, fill=0.5)
        with torch.no_grad():
            layer.weight.normal_()
        layer.activate(Parameter(1, 3, 2))
        torch.testing.assert_close(layer(), layer.weight[:, :3, :2])
        static = Parameter(1, 3, 2)
        static.load_state_dict(layer.active_state())
        torch.testing.assert_close(static(), layer())

    @pytest.mark.parametrize("template", [Parameter(1, 6, 4), Parameter(5, 4), nn.Linear(2, 2)])
    def test_what_does_not_fit_raises(self, template: nn.Module) -> None:
        with pytest.raises(ValueError, match=r"size1 = 6 is more|cannot become"):
            ElasticParameter(1, 5, 4).activate(template)


class TestPositions:
    @pytest.mark.parametrize("features", [6, 4])
    def test_the_largest_grid_is_taken_as_it_is(self, features: int) -> None:
        layer = ElasticPositions(3, 6, leading=2)
        layer.activate(Positions(3, features, leading=2))
        assert torch.equal(layer(), layer.weight[..., :features])
        assert layer.weight.std() > 0.01

    def test_a_smaller_grid_is_interpolated_and_leading_tokens_stay(self) -> None:
        """A cubic through a plane is the plane; a pixel of a coarser grid is in the middle of those it stands for."""
        layer = ElasticPositions(12, 5, leading=1)
        rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
        with torch.no_grad():
            layer.weight[:, 1:] = (3 * rows + columns).reshape(-1, 1)
        layer.activate(Positions(4, 3, leading=1))
        found = layer()
        assert found.shape == (1, 17, 3)
        assert torch.equal(found[:, 0], layer.weight[:, 0, :3])
        middle = torch.arange(4.0) * 3 + 1
        expected = (3 * middle[:, None] + middle).reshape(-1, 1).expand(-1, 3)
        torch.testing.assert_close(found[0, 1:], expected)
        static = Positions(4, 3, leading=1)
        static.load_state_dict(layer.active_state())
        assert torch.equal(static(), found)

    def test_gradients_of_a_smaller_grid_reach_the_largest(self) -> None:
        layer = ElasticPositions(4, 2)
        layer.activate(Positions(2, 2))
        layer().square().sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.any()

    @pytest.mark.parametrize(
        "template", [Positions(4, 4, 1), Positions(3, 7, 1), Positions(3, 4), Parameter(1, 10, 4), nn.Linear(2, 2)]
    )
    def test_what_does_not_fit_raises(self, template: nn.Module) -> None:
        with pytest.raises(ValueError, match=r"grid = 4 is more|features = 7 is more|cannot become"):
            ElasticPositions(3, 6, leading=1).activate(template)


class TestPatches:
    """Convolutions without padding, whose windows do not overlap."""

    def test_they_are_a_prefix(self) -> None:
        layer = ElasticConv2d(3, 8, (4,), stride=4, bias=True, padding=0)
        expected = nn.Conv2d(3, 6, 4, 4)
        with torch.no_grad():
            expected.weight.copy_(layer.weight[:6])
            expected.bias.copy_(layer.bias[:6])  # type: ignore[union-attr, index]
        check(layer, nn.Conv2d(3, 6, 4, 4), expected, torch.randn(2, 3, 8, 8))

    def test_another_padding_raises(self) -> None:
        with pytest.raises(ValueError, match="cannot become"):
            ElasticConv2d(3, 8, (4,), stride=4, bias=True, padding=0).activate(nn.Conv2d(3, 8, 4, 4, padding=2))
