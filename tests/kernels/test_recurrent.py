"""torch's recurrent layers by lanes: what each lane's own layer computes, gradients included, the same bits in any group, and trained as torch
trains them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from kernel_lanes import assert_each_lane_is_its_own_module, assert_same_alone_and_among_others
from torch import Tensor, nn

from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.rules.recurrent import recurrent
from ablate.kernels.stacked import is_covered
from ablate.kernels.support import why_not_vmap
from ablate.lanes.seed_dependence import own_parameters_elsewhere, seed_dependent

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
KINDS = (nn.RNN, nn.LSTM, nn.GRU)
SETTINGS = [
    {"num_layers": layers, "bidirectional": both, "batch_first": first, "bias": bias}
    for layers, both, first, bias in ((1, False, True, True), (2, False, False, True), (1, True, True, False), (2, True, False, True))
]  # fmt: skip
OF_ONE_KIND = [(nn.LSTM, {"proj_size": 3, "num_layers": 2}), (nn.LSTM, {"proj_size": 3, "bidirectional": True}), (nn.RNN, {"nonlinearity": "relu"})]  # fmt: skip


class Reads(nn.Module):
    """The mean of the outputs beside the last states."""

    def __init__(self, kind: type[nn.RNNBase], **settings: Any) -> None:
        super().__init__()
        self.layer = kind(5, 7, **settings)

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.layer(x if self.layer.batch_first else x.transpose(0, 1))
        y = y.mean(1 if self.layer.batch_first else 0)
        if self.layer.mode == "LSTM":
            return torch.cat([y, state[0][-1], state[1][0]], 1)
        return torch.cat([y, state[-1]], 1)


def cases():
    return [*product(KINDS, SETTINGS), *OF_ONE_KIND]


def models(kind: type[nn.RNNBase], settings: dict[str, Any], count: int = 4) -> list[nn.Module]:
    torch.manual_seed(1)
    return [Reads(kind, **settings) for _ in range(count)]


@pytest.mark.parametrize(("kind", "settings"), cases())
def test_each_lane_is_its_own_layer(kind, settings):
    x = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    several = models(kind, settings)
    assert is_covered(several[0])
    assert_each_lane_is_its_own_module(several, x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_has_its_bits_in_any_group(kind):
    x = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    assert_same_alone_and_among_others(lambda: models(kind, SETTINGS[1]), x)


@pytest.mark.parametrize(("kind", "settings"), cases())
def test_one_lane_is_torchs_layer_in_float64_with_a_state_of_its_own(kind, settings):
    torch.manual_seed(2)
    layer = kind(5, 7, **settings).double()
    count = layer.num_layers * (1 + layer.bidirectional)
    x = torch.randn(4, 6, 5, dtype=torch.float64, requires_grad=True)
    examples = 4 if layer.batch_first else 6
    width = layer.proj_size or 7
    hidden = torch.randn(count, examples, width, dtype=torch.float64, requires_grad=True)
    cell = torch.randn(count, examples, 7, dtype=torch.float64, requires_grad=True)
    state = (hidden, cell) if kind is nn.LSTM else hidden
    given = [x, hidden, *([cell] if kind is nn.LSTM else []), *layer.parameters()]

    def results(y: Tensor, last: Any) -> list[Tensor]:
        parts = [y, *(last if isinstance(last, tuple) else (last,))]
        return [*parts, *torch.autograd.grad(sum((part**2).sum() for part in parts), given)]

    for mine, right in zip(results(*recurrent(layer, x, state)), results(*layer(x, state)), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-10, atol=1e-10)


def test_lanes_get_their_own_weights_where_the_layer_reads_its_list_of_them():
    one, other = nn.LSTM(5, 7), nn.LSTM(5, 7)
    x = torch.randn(3, 2, 5)
    right = other(x)[0]
    with binding_of(one).bound(binding_of(other).tensors()):
        assert torch.equal(one(x)[0], right)
    assert not torch.equal(one(x)[0], right)
    assert own_parameters_elsewhere(one) == seed_dependent(one, other) == ""


def test_dropout_between_layers_and_other_lists_are_left_to_torch():
    torch.manual_seed(0)
    layer = nn.GRU(5, 7, num_layers=2, dropout=0.5)
    assert "generator" in why_not_vmap(layer_of(layer), torch.randn(3, 6, 5)) or why_not_vmap(
        layer_of(layer), torch.randn(3, 6, 5)
    )
    held = nn.GRU(5, 7)
    held.own = [held.weight_hh_l0]
    assert own_parameters_elsewhere(held) == "'own' holds parameters of the model a second time"


def layer_of(layer: nn.RNNBase) -> nn.Module:
    model = Reads(nn.GRU)
    model.layer = layer
    return model
