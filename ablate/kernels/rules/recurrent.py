"""`nn.RNN`, `nn.LSTM` and `nn.GRU`: the steps of all lanes at once. torch's own have no rule for vmap, so that such models would train one lane
at a time.

The input's products are one for all time steps; those of the hidden state follow step by step, in the equations of torch's documentation. Packed
sequences, and dropout between the layers in training, which draws from torch's generator, are left to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.functional_math import by_vector_blocks
from ablate.kernels.functional_rules import linear_product
from ablate.kernels.registry import register_stacked, register_vmapped

State = tuple[Tensor, ...]
"""The hidden state `[…, B, H]` and, of an LSTM, the cell state."""


@dataclass(frozen=True)
class Functions:
    """What a step is made of. `linear`: (x `[…, N, I]`, weights `[…, O, I]`, biases `[…, O]`) -> `[…, N, O]`. `smooth`: (a function of one tensor,
    the tensor) -> its value."""

    linear: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    smooth: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


STACKED = Functions(linear_product, by_vector_blocks)
OF_ONE = Functions(F.linear, lambda function, x: function(x))


def _draws(layer: nn.RNNBase) -> bool:
    return layer.training and layer.dropout > 0 and layer.num_layers > 1


def _fits(layer: nn.RNNBase, x: Tensor, *state: Any) -> bool:
    return isinstance(x, Tensor) and x.ndim == 4 and not state and not _draws(layer)


@register_stacked(nn.RNN, nn.LSTM, nn.GRU, fits=_fits)
def stacked_recurrent(layer: nn.RNNBase, x: Tensor) -> Any:
    """`[K, B, T, I]`, or `[K, T, B, I]` without `batch_first` -> (the outputs, `[K, layers · directions, B, H]`), as torch's layers return them."""
    return _run(layer, x, None, STACKED)


@register_vmapped(nn.RNN, nn.LSTM, nn.GRU)
def recurrent(layer: nn.RNNBase, x: Any, state: Any = None) -> Any:
    """The same of one lane, with the state that the model gives, if any."""
    if not isinstance(x, Tensor) or x.ndim != 3 or _draws(layer):
        return type(layer).forward(layer, x, state)
    return _run(layer, x, state, OF_ONE)


def _run(layer: nn.RNNBase, x: Tensor, state: Any, functions: Functions) -> Any:
    tokens = x if layer.batch_first else x.transpose(-3, -2)  # […, B, T, I]
    given = None if state is None else state if isinstance(state, tuple) else (state,)
    ends: list[State] = []
    for number in range(layer.num_layers):
        directions = []
        for reverse in range(1 + layer.bidirectional):
            first = None if given is None else tuple(part.select(-3, len(ends)) for part in given)
            suffix = f"l{number}{'_reverse' * reverse}"
            steps, end = _direction(layer, suffix, tokens, first, functions, backwards=bool(reverse))
            directions.append(steps)
            ends.append(end)
        tokens = directions[0] if len(directions) == 1 else torch.cat(directions, -1)
    last = tuple(torch.stack(parts, -3) for parts in zip(*ends, strict=True))
    y = tokens if layer.batch_first else tokens.transpose(-3, -2)
    return (y, last) if isinstance(layer, nn.LSTM) else (y, last[0])


def _direction(
    layer: nn.RNNBase, suffix: str, x: Tensor, state: State | None, functions: Functions, *, backwards: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: `[…, B, T, I]` -> (`[…, B, T, H]`, the state after the last step)."""

    def own(name: str) -> Tensor | None:
        tensor: Tensor | None = getattr(layer, f"{name}_{suffix}", None)
        return tensor

    into, within = getattr(layer, f"weight_ih_{suffix}"), getattr(layer, f"weight_hh_{suffix}")
    bias, projection, linear = own("bias_hh"), own("weight_hr"), functions.linear
    inputs = torch.unflatten(linear(x.flatten(-3, -2), into, own("bias_ih")), -2, x.shape[-3:-1])
    if state is None:
        examples = x[..., 0, :1]
        widths = [(projection if projection is not None else within.mT).shape[-2], layer.hidden_size]
        state = tuple(
            torch.zeros_like(examples).expand(*examples.shape[:-1], width)
            for width in widths[: 1 + isinstance(layer, nn.LSTM)]
        )
    outputs: list[Tensor] = []
    step = _STEPS[layer.mode]
    for part in _in_order(inputs, backwards=backwards):
        state = step(part, state, linear(state[0], within, bias), functions.smooth)
        if projection is not None:
            state = (linear(state[0], projection, None), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs, -2), state


def _in_order(x: Tensor, *, backwards: bool) -> Iterator[Tensor]:
    steps = x.unbind(-2)
    return iter(steps[::-1] if backwards else steps)


def _tanh(x: Tensor, state: State, hidden: Tensor, smooth: Any) -> State:
    return (smooth(torch.tanh, x + hidden),)


def _relu(x: Tensor, state: State, hidden: Tensor, smooth: Any) -> State:
    return (torch.relu(x + hidden),)


def _lstm(x: Tensor, state: State, hidden: Tensor, smooth: Any) -> State:
    """Hochreiter & Schmidhuber (1997) with a forget gate."""
    total = x + hidden
    inward, forget, _, outward = smooth(torch.sigmoid, total).chunk(4, -1)
    memory = forget * state[1] + inward * smooth(torch.tanh, total.chunk(4, -1)[2])
    return outward * smooth(torch.tanh, memory), memory


def _gru(x: Tensor, state: State, hidden: Tensor, smooth: Any) -> State:
    """Cho et al. (2014), with the reset gate behind the product."""
    width = state[0].shape[-1]
    gates = smooth(torch.sigmoid, x[..., : 2 * width] + hidden[..., : 2 * width])
    reset, update = gates.chunk(2, -1)
    new = smooth(torch.tanh, x[..., 2 * width :] + reset * hidden[..., 2 * width :])
    return ((1 - update) * new + update * state[0],)


_STEPS = {"RNN_TANH": _tanh, "RNN_RELU": _relu, "LSTM": _lstm, "GRU": _gru}
