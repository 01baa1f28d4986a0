"""Prompts of any length by an exported model."""

from __future__ import annotations

from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from search_spaces.layers import Layers
from search_spaces.slm import linear_attention
from search_spaces.slm.gated_delta_net import GatedDeltaNet
from search_spaces.slm.mixer import Mixer
from search_spaces.slm.retnet import RetNet

WIDTH = 8


class Prefill(nn.Module):
    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.mixer.prefill(x)


@pytest.mark.parametrize("kind", [RetNet, GatedDeltaNet])
def test_prompts_of_any_length(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a rate, with and without a convolution; chunks have 32 tokens."""
    monkeypatch.setattr(linear_attention, "DOUBLINGS", 2)  # each doubling takes a second to export
    torch.manual_seed(0)
    mixer = kind(Layers(), WIDTH, 2, 3).eval()
    free = {0: torch.export.Dim("n", min=1), 1: torch.export.Dim("tokens", min=1)}
    program = torch.onnx.export(
        Prefill(mixer),
        (torch.randn(2, 70, WIDTH),),
        dynamo=True,
        dynamic_shapes=(free,),
        opset_version=20,
        verbose=False,
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for n, tokens in ((1, 1), (3, 33), (1, 128)):
        x = torch.randn(n, tokens, WIDTH)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            expected = (mixer(x), *mixer.prefill(x)[1:])
        for output, other in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(output), other, rtol=1e-4, atol=1e-5)
