"""The forms of linear attention against ONNX's reference of its operator, against each other, and by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from search_spaces.slm.linear_attention import (
    LONGEST_PROMPT,
    linear_attention,
    linear_attention_of_prompt,
    linear_attention_step,
)

N, HEADS, KEYS, VALUES = 2, 3, 4, 5

#: Whether there is a decay, and a rate.
RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}
CASES = [(rule, width) for rule, (decays, _) in RULES.items() for width in ((1, KEYS) if decays else (1,))]

Inputs = dict[str, Tensor]


def inputs(rule: str, width: int, tokens: int, dtype: torch.dtype = torch.float32) -> Inputs:
    """Random ones, with decays of that width; keys have length 1, as rules with a rate need them."""
    generator = torch.Generator().manual_seed(tokens)

    def normal(size: int) -> Tensor:
        return torch.randn(N, HEADS, tokens, size, generator=generator, dtype=dtype)

    found = {"q": normal(KEYS), "k": torch.nn.functional.normalize(normal(KEYS), dim=-1), "v": normal(VALUES)}
    decays, corrects = RULES[rule]
    if decays:
        found["decay"] = normal(width).exp() * -0.3
    if corrects:
        found["beta"] = torch.sigmoid(normal(1))
    return found


def starting_state(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(N, HEADS, KEYS, VALUES, generator=torch.Generator().manual_seed(1), dtype=dtype)


def one_by_one(given: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    outputs = []
    for t in range(given["q"].shape[2]):
        output, state = linear_attention_step(state=state, **{name: x[:, :, t : t + 1] for name, x in given.items()})
        outputs.append(output)
    return torch.cat(outputs, dim=2), state


def by_onnx(rule: str, given: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """What the reference implementation of ONNX's own operator gives."""
    names = ["q", "k", "v", "state", "decay", "beta"]
    node = helper.make_node(
        "LinearAttention", [name if name in (*given, "state") else "" for name in names], ["y", "last"],
        q_num_heads=HEADS, kv_num_heads=HEADS, update_rule=rule, scale=1.0,
    )  # fmt: skip
    feeds = {name: x.transpose(1, 2).flatten(2).numpy() for name, x in given.items()} | {"state": state.numpy()}
    graph = helper.make_graph(
        [node],
        "reference",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in feeds.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 27)])
    y, last = (torch.from_numpy(np.asarray(x)) for x in ReferenceEvaluator(model).run(None, feeds))
    return y.unflatten(2, (HEADS, VALUES)).transpose(1, 2), last


@pytest.mark.parametrize(("rule", "width"), CASES)
def test_recurrence_is_that_of_onnx(rule: str, width: int) -> None:
    given, state = inputs(rule, width, 9), starting_state()
    for found, expected in zip(one_by_one(given, state), by_onnx(rule, given, state), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("rule", "width"), CASES)
@pytest.mark.parametrize("tokens", [1, 16, 33, 70])
def test_chunks_are_that_of_one_token_after_the_other(rule: str, width: int, tokens: int) -> None:
    given, state = inputs(rule, width, tokens), starting_state()
    for found, expected in zip(linear_attention(state=state, **given), one_by_one(given, state), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    nothing = one_by_one(given, torch.zeros_like(state))
    for form in (linear_attention, linear_attention_of_prompt):
        for found, expected in zip(form(**given), nothing, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rule", "width"), CASES)
@pytest.mark.parametrize("shared", [("q",), ("q", "k"), ("v",)])
def test_heads_share(rule: str, width: int, shared: tuple[str, ...]) -> None:
    given = {name: x[:, :1] if name in shared else x for name, x in inputs(rule, width, 40).items()}
    alike = {name: x.expand(-1, HEADS, -1, -1) for name, x in given.items()}
    for form in (linear_attention, linear_attention_of_prompt):
        for found, expected in zip(form(**given), form(**alike), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("rule", "width"), CASES)
def test_strong_decays_stay_finite(rule: str, width: int) -> None:
    """e^-300 is 0 in float32, and its inverse infinite."""
    given = inputs(rule, width, 70)
    given |= {"decay": given["decay"] * 1000} if "decay" in given else {}
    nothing = torch.zeros(N, HEADS, KEYS, VALUES)
    for form in (linear_attention, linear_attention_of_prompt):
        for found, expected in zip(form(**given), one_by_one(given, nothing), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rule", "width"), [case for case in CASES if RULES[case[0]][1]])
@pytest.mark.parametrize("sign", [1, -1])
def test_alike_keys_and_rates_near_one(rule: str, width: int, sign: int) -> None:
    """As of a text that repeats itself: what links the tokens of a chunk is then near to its largest possible value."""
    given = inputs(rule, width, 70)
    signs = torch.tensor([1, sign]).repeat(35).unsqueeze(1)
    given |= {"k": torch.nn.functional.normalize(given["k"][:, :, :1] + 0.01 * given["k"], dim=-1) * signs}
    given |= {"beta": torch.full_like(given["beta"], 0.999)}
    given |= {"decay": given["decay"] * 0.01} if "decay" in given else {}
    exact = {name: x.double() for name, x in given.items()}
    expected = one_by_one(exact, torch.zeros(N, HEADS, KEYS, VALUES, dtype=torch.float64))
    for form in (linear_attention, linear_attention_of_prompt):
        for found, wanted in zip(form(**given), expected, strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_prompt_is_cut_anywhere(rule: str) -> None:
    given = inputs(rule, 1, 50)
    whole, end = linear_attention(**given)
    first, state = linear_attention_of_prompt(**{name: x[:, :, :37] for name, x in given.items()})
    second, last = linear_attention(state=state, **{name: x[:, :, 37:] for name, x in given.items()})
    torch.testing.assert_close(torch.cat([first, second], dim=2), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, end, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rule", "width"), CASES)
def test_gradients(rule: str, width: int) -> None:
    given = inputs(rule, width, 35, torch.float64)
    given = {name: x[:1, :1].clone().requires_grad_() for name, x in given.items()}
    state = starting_state(torch.float64)[:1, :1].clone().requires_grad_()

    def function(state: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        return linear_attention(state=state, **dict(zip(given, values, strict=True)))

    assert torch.autograd.gradcheck(function, (state, *given.values()), fast_mode=True)


@pytest.mark.parametrize("form", [linear_attention, linear_attention_of_prompt])
@pytest.mark.parametrize("width", [1, KEYS])
def test_strong_decays_are_safe(form: Callable[..., tuple[Tensor, Tensor]], width: int) -> None:
    """Where a quotient of cumulative factors is 0 by 0: all is forgotten at once."""
    given = inputs("gated", width, 40)
    given["decay"] = torch.full_like(given["decay"], -200.0)
    given = {name: x.requires_grad_() for name, x in given.items()}
    outputs, last = form(**given)
    alone = (given["q"] * given["k"]).sum(-1, keepdim=True) * given["v"]
    torch.testing.assert_close(outputs, alone)
    (outputs.sum() + last.sum()).backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in given.values())


def test_heads_share_queries_and_keys() -> None:
    given = inputs("gated", 1, 40)
    shared = given | {name: given[name][:, :1] for name in ("q", "k")}
    repeated = shared | {name: shared[name].expand(-1, HEADS, -1, -1) for name in ("q", "k")}
    for found, expected in zip(linear_attention(**shared), linear_attention(**repeated), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("rule", "width"), CASES)
def test_bfloat16_keeps_states_in_float32(rule: str, width: int) -> None:
    given = inputs(rule, width, 70)
    expected, _ = linear_attention(**given)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, last = linear_attention(**{name: x.bfloat16() for name, x in given.items()})
    assert last.dtype == torch.float32
    error = (outputs.float() - expected).norm() / expected.norm()
    assert error < 0.02  # a few units of 2^-8


def test_the_longest_prompt() -> None:
    given = inputs("delta", 1, LONGEST_PROMPT)
    for found, expected in zip(linear_attention_of_prompt(**given), linear_attention(**given), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("rule", "width", "longest"), [("delta", 1, 4096), ("gated_delta", KEYS, 2048)])
def test_a_longer_prompt_raises(rule: str, width: int, longest: int) -> None:
    with pytest.raises(ValueError, match=f"a prompt of at most {longest} tokens"):
        linear_attention_of_prompt(**inputs(rule, width, longest + 1))
