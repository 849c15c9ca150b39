"""Surgery on models as people write them: shared layers, tokens, in-place activations, own norm layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ablate.kernels.lane_switches import LaneSwitches, switches_by_path, use_switches
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.vmapped import vmapped
from ablate.surgery.layers import Gate
from ablate.surgery.net import Net, open_net
from ablate.surgery.switch import Switch


class Shared(nn.Module):
    """One activation and one layer, each under two names; the head reached through another attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.act = nn.ReLU(inplace=True)
        self.middle = nn.Linear(6, 6)
        self.again = self.middle
        self.blocks = nn.Sequential(self.middle, self.act, self.again, self.act)
        self.parts = nn.ModuleDict({"head": nn.Linear(6, 3)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = self.blocks(x)
        return self.parts["head"](x) * self.again.weight.mean()


def stacked_outputs(nets: list[Net], x: Tensor, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Outputs `[K, …]` in training under vmap, and the gradients of a random function of them."""
    module = nets[0].module
    state = {
        name: torch.stack([dict(net.module.named_parameters())[name].detach() for net in nets])
        for name, _ in module.named_parameters()
    }
    leaves = {name: value.requires_grad_() for name, value in state.items()}
    buffers = {
        name: torch.stack([dict(net.module.named_buffers())[name] for net in nets])
        for name, _ in module.named_buffers()
    }
    module.train()
    switches = LaneSwitches.of(module, switches_by_path([net.module for net in nets]))
    with use_switches(switches), binding_of(module).bound({**leaves, **buffers}):
        outputs = vmapped(module, x)
    weight = torch.randn(outputs.shape[1:], generator=torch.Generator().manual_seed(seed))
    gradients = torch.autograd.grad((outputs * weight).sum(), list(leaves.values()), allow_unused=True)
    return outputs.detach(), [torch.zeros(1) if g is None else g for g in gradients]


def assert_lanes_are_alone(build: Callable[[int], Net], lanes: int, x: Tensor) -> None:
    together, gradients = stacked_outputs([build(lane) for lane in range(lanes)], x, 0)
    for lane in range(lanes):
        # As the engine does, beside a copy: a batched product of one matrix may go to another routine.
        alone, lane_gradients = stacked_outputs([build(lane)] * 2, x[[lane, lane]], 0)
        assert torch.equal(together[lane], alone[0])
        for one, other in zip(gradients, lane_gradients, strict=True):
            if one.ndim > 1:
                assert torch.equal(one[lane], other[0])


def test_a_layer_is_replaced_under_every_name_it_has() -> None:
    net = open_net(Shared(), torch.zeros(2, 4))
    assert net.heads == {"parts.head"}
    sites = dict(net.sites())
    assert [place.path for place in sites] == ["first", "middle"]
    assert net.module.again is net.module.middle is net.module.blocks[0] is net.module.blocks[2]
    place = net.of(nn.ReLU)[0]
    switch = net.switch(place)
    assert net.module.act is net.module.blocks[1] is net.module.blocks[3] is switch
    assert {spec.name for spec in net.specs().values()} == {n for n, _ in Shared().named_parameters()}
    net.module(torch.zeros(2, 4))  # the model still finds `self.again.weight`


def test_inplace_activations_work_beside_other_branches_under_vmap() -> None:
    def build(lane: int) -> Net:
        torch.manual_seed(lane)
        net = open_net(Shared(), torch.zeros(2, 4))
        net.switch(net.of(nn.ReLU)[0]).add("tanh", nn.Tanh(), on=lane == 1)
        return net

    assert_lanes_are_alone(build, 3, torch.randn(3, 5, 4))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(13), nn.LayerNorm(13), nn.SiLU(), nn.Sigmoid(), nn.GELU(), nn.PReLU(13)]
)
@pytest.mark.parametrize("examples", [7, 19])
def test_a_models_own_layers_do_not_round_with_their_neighbours(layer: nn.Module, examples: int) -> None:
    def build(lane: int) -> Net:
        torch.manual_seed(lane)
        model = nn.Sequential(nn.Linear(4, 13), type(layer)(*([13] if list(layer.parameters()) else [])))
        model.append(nn.Linear(13, 3))
        return open_net(model, torch.zeros(2, 4))

    assert_lanes_are_alone(build, 5, torch.randn(5, examples, 4))


@pytest.mark.parametrize("own_norm", [False, True])
def test_channels_of_tokens_are_the_last_dimension(own_norm: bool) -> None:
    middle = [nn.LayerNorm(6)] if own_norm else []
    model = nn.Sequential(nn.Linear(4, 6), *middle, nn.ReLU(), nn.Linear(6, 2))
    net = open_net(model, torch.zeros(2, 5, 4))
    switches = list(net.norm_switches())
    assert [(channels, spatial) for _, channels, spatial in switches] == [(6, 1)]
    shapes = []

    class Note(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shapes.append(tuple(x.shape))
            return x

    switches[0][0].add("note", Note(), on=True)
    assert net.module(torch.zeros(3, 5, 4)).shape == (3, 5, 2)
    assert shapes == [(3, 6, 5)]


def test_norm_comes_before_what_else_stands_after_a_layer() -> None:
    def operated(norm_first: bool) -> Net:
        torch.manual_seed(0)
        net = open_net(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.zeros(2, 4))
        for step in ("norm", "after") if norm_first else ("after", "norm"):
            if step == "norm":
                for switch, channels, _ in net.norm_switches():
                    switch.add("batch", nn.BatchNorm1d(channels), on=True)
            else:
                next(iter(net.sites()))[1].after.append(nn.Tanh())
        return net

    x = torch.randn(8, 4)
    assert torch.equal(operated(True).module(x), operated(False).module(x))
    assert operated(True).specs().keys() == operated(False).specs().keys()


def test_a_branch_that_a_lane_does_not_use_has_zero_weights() -> None:
    switch = Switch(nn.Identity())
    switch.add("used", nn.LayerNorm(3), on=True)
    switch.add("unused", nn.LayerNorm(3), on=False)
    assert switch.branches["used"].weight.abs().sum() == 3
    assert switch.branches["unused"].weight.abs().sum() == 0


def test_the_bias_is_dropped_if_any_trick_asks() -> None:
    net = open_net(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2)), torch.zeros(2, 4))
    _, site = next(iter(net.sites()))
    x = torch.randn(3, 4)
    whole = site(x)
    site.drop_bias(False)
    assert isinstance(site.bias_gate, Gate)
    assert torch.equal(site(x), whole)
    site.drop_bias(True)
    site.drop_bias(False)
    torch.testing.assert_close(site(x), x @ site.weight.T)
