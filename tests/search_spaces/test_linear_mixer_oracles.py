"""Mixers of the family of linear attention against other implementations, with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Mamba2Config, Qwen3NextConfig
from transformers.models.kimi_linear import modeling_kimi_linear as kimi
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

from search_spaces.layers import Layers
from search_spaces.slm.based import Based
from search_spaces.slm.delta_net import DeltaNet
from search_spaces.slm.gated_delta_net import GatedDeltaNet
from search_spaces.slm.gated_linear_attention import GatedLinearAttention
from search_spaces.slm.linear_attention import linear_attention_step
from search_spaces.slm.mamba2 import Mamba2
from search_spaces.slm.retnet import RetNet

WIDTH, HEADS, STATE, TOKENS = 12, 3, 4, 41
VALUES = WIDTH // HEADS


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, TOKENS, WIDTH)


def made(kind: Any, **arguments: int) -> Any:
    mixer = kind(Layers(), WIDTH, HEADS, STATE, **arguments)
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return mixer.eval()


def loaded(module: nn.Module, **weights: Tensor) -> nn.Module:
    module.load_state_dict({name.replace("__", "."): weight.detach() for name, weight in weights.items()})
    return module.eval()


def test_mamba2(x: Tensor) -> None:
    mixer = made(Mamba2)
    config = Mamba2Config(
        num_heads=HEADS, head_dim=2 * VALUES, hidden_size=WIDTH, state_size=STATE, n_groups=1, num_hidden_layers=1,
        chunk_size=8, conv_kernel=4, use_bias=False, use_conv_bias=True, layer_norm_epsilon=1e-5,
    )  # fmt: skip
    roles = (mixer.gate, mixer.value, mixer.key, mixer.query, mixer.step_size)
    other = loaded(
        Mamba2Mixer(config, 0),
        in_proj__weight=torch.cat([role.weight for role in roles]),
        conv1d__weight=mixer.convolution.weight.t().unsqueeze(1),
        conv1d__bias=mixer.convolution.bias,
        dt_bias=mixer.step_bias.weight,
        A_log=mixer.log_decay.weight,
        D=mixer.skip.weight,
        norm__weight=mixer.scale.weight.flatten(),
        out_proj__weight=mixer.output.weight,
    )
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), other(x), rtol=1e-4, atol=1e-5)


def test_gated_delta_net(x: Tensor) -> None:
    mixer = made(GatedDeltaNet)
    config = Qwen3NextConfig(
        hidden_size=WIDTH, linear_num_value_heads=HEADS, linear_num_key_heads=HEADS, linear_key_head_dim=STATE,
        linear_value_head_dim=VALUES, linear_conv_kernel_dim=4, hidden_act="silu", rms_norm_eps=1e-6, num_hidden_layers=1,
        layer_types=["linear_attention"],
    )  # fmt: skip

    def packed(*roles: nn.Module) -> Tensor:
        """Rows of all roles, head by head."""
        return torch.cat([role.get_parameter("weight").view(HEADS, -1, WIDTH) for role in roles], dim=1).flatten(0, 1)

    other = loaded(
        Qwen3NextGatedDeltaNet(config, 0),
        in_proj_qkvz__weight=packed(mixer.query, mixer.key, mixer.value, mixer.gate),
        in_proj_ba__weight=packed(mixer.rate, mixer.pace),
        conv1d__weight=mixer.convolution.weight.t().unsqueeze(1),
        dt_bias=mixer.pace_bias.weight,
        A_log=mixer.log_decay.weight,
        norm__weight=mixer.norm.weight,
        out_proj__weight=mixer.output.weight,
    )
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), other(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", ["chunk_kimi_delta_attention", "recurrent_kimi_delta_attention"])
def test_delta_net(x: Tensor, rule: str) -> None:
    mixer = made(DeltaNet)
    with torch.no_grad():
        mixed = F.silu(
            mixer.convolution(torch.cat([role(x) for role in (mixer.query, mixer.key, mixer.value)], dim=-1))
        )
        q, k, v = (part.unflatten(2, (HEADS, -1)) for part in mixed.tensor_split(3, dim=-1))
        beta = torch.sigmoid(mixer.rate(x))
        outputs, _ = getattr(kimi, rule)(
            q,
            k,
            v,
            torch.zeros_like(k),
            beta,
            initial_state=None,
            output_final_state=False,
            use_qk_l2norm_in_kernel=True,
        )
        torch.testing.assert_close(mixer(x), mixer.output(mixer.norm(outputs).flatten(2)), rtol=1e-4, atol=1e-5)


def gated(mixer: Any, x: Tensor, outputs: Tensor) -> Tensor:
    """Normalised by the formula, times SiLU of the gate, projected; of outputs of shape (n, heads, t, values)."""
    outputs = outputs.transpose(1, 2)
    normal = outputs / (outputs.square().mean(-1, keepdim=True) + 1e-6).sqrt() * mixer.norm.weight
    gates = torch.einsum("ntd,ed->nte", x, mixer.gate.weight)
    result: Tensor = (normal.flatten(2) * gates * torch.sigmoid(gates)) @ mixer.output.weight.t()
    return result


def heads(x: Tensor, role: nn.Module) -> Tensor:
    return torch.einsum("ntd,hed->nhte", x, role.get_parameter("weight").view(HEADS, -1, WIDTH))


def test_gated_linear_attention(x: Tensor) -> None:
    """Against the recurrence, which is tested against ONNX's."""
    mixer = made(GatedLinearAttention)
    with torch.no_grad():
        q, k, v = (heads(x, role) for role in (mixer.query, mixer.key, mixer.value))
        logits = torch.einsum(
            "ntr,hkr->nhtk", x @ mixer.decay_down.weight.t(), mixer.decay_up.weight.view(HEADS, STATE, -1)
        )
        decay = F.logsigmoid(logits + mixer.decay_up.bias.view(HEADS, 1, STATE)) / 16
        state, outputs = torch.zeros(2, HEADS, STATE, VALUES), []
        for t in range(TOKENS):
            now = slice(t, t + 1)
            output, state = linear_attention_step(q[:, :, now], k[:, :, now], v[:, :, now], state, decay[:, :, now])
            outputs.append(output / STATE**0.5)
        torch.testing.assert_close(mixer(x), gated(mixer, x, torch.cat(outputs, dim=2)), rtol=1e-4, atol=1e-5)


def test_retention_is_its_parallel_form(x: Tensor) -> None:
    mixer = made(RetNet)
    place = torch.arange(TOKENS)
    distance = place[:, None] - place
    with torch.no_grad():
        q, k, v = (heads(x, role) for role in (mixer.query, mixer.key, mixer.value))
        factors = torch.stack([(1 - 2.0 ** (-5 - head)) ** distance.clamp(min=0) for head in range(HEADS)])
        scores = q @ k.transpose(-1, -2) / STATE**0.5 * factors * (distance >= 0)
        torch.testing.assert_close(mixer(x), gated(mixer, x, scores @ v), rtol=1e-4, atol=1e-5)


def test_based_is_its_quadratic_form(x: Tensor) -> None:
    mixer = made(Based)
    with torch.no_grad():
        q, k, v = (heads(x, role) for role in (mixer.query, mixer.key, mixer.value))
        scores = q @ k.transpose(-1, -2) / STATE**0.5
        weights = torch.tril(1 + scores + scores.square() / 2)
        averages = weights @ v / weights.sum(-1, keepdim=True)
        expected = averages.transpose(1, 2).flatten(2) @ mixer.output.weight.t()
        torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)
