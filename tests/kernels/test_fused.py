"""Fused ops: each lane's own modules in float64, the same bits fused, layer by layer, and alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from ablate.kernels.compiled import use_compiled
from ablate.kernels.compiled_convolution import ConvolutionOp
from ablate.kernels.compiled_op import to_nchw, to_nhwc
from ablate.kernels.compiled_ops import FlattenOp, GlobalMeanOp, LinearOp, MaxPoolOp
from ablate.kernels.fused import FusedOp, LayerOps
from ablate.kernels.lane_switches import LaneSwitches, switches_by_path, use_switches
from ablate.kernels.memory_format import to_channels_last
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.stacked import layer_ops_of, stacked
from ablate.surgery.layers import Dropout, Site
from ablate.surgery.norms import BatchNorm, GroupNorm, LayerNorm
from ablate.surgery.switch import Switch

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity)
NORMS = ("none", "batch", "group", "layer")
LANES = 7


class Recipe:
    """What one lane's layers are, in every place of a model."""

    def __init__(self, lane: int, seed: int) -> None:
        draw = random.Random(1000 * seed + lane)
        self.lane, self.seed = lane, seed
        self.norms = [draw.choice(NORMS) for _ in range(3)]
        self.activations = [draw.choice(ACTIVATIONS) for _ in range(3)]
        self.dropouts = [draw.choice((0.0, 0.3, 0.6)) for _ in range(3)]
        self.inverted = draw.random() < 0.7
        self.biased = draw.random() < 0.6

    def site(self, layer: nn.Linear | nn.Conv2d, channels: int, place: int) -> list[nn.Module]:
        """The layer with what stands around it, as surgery would build it in this lane."""
        site = Site(layer, f"{place}")
        if place:
            site.before.append(Dropout(self.dropouts[place], f"dropout/{place}", inverted=self.inverted))
        site.drop_bias(on=not self.biased)
        site.norm = Switch(nn.Identity())
        for name, norm in (
            ("batch", BatchNorm(channels, 0.2, 1e-5)),
            ("group", GroupNorm(channels, 2, 1e-4)),
            ("layer", LayerNorm(channels, 1e-5)),
        ):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            site.norm.add(name, norm, self.norms[place] == name)
        activation = Switch(nn.ReLU())
        for kind in ACTIVATIONS:
            activation.add(kind.__name__, kind(), self.activations[place] is kind)
        return [site, activation]

    def model(self, kind: str) -> nn.Module:
        torch.manual_seed(1000 * self.seed + self.lane)
        if kind == "mlp":
            layers = [
                *self.site(nn.Linear(6, 20), 20, 0),
                *self.site(nn.Linear(20, 12), 12, 1),
                nn.Linear(12, 3),
            ]
        else:
            layers = [
                *self.site(nn.Conv2d(1, 8, 3, padding=1), 8, 0), nn.MaxPool2d(2),
                *self.site(nn.Conv2d(8, 12, 3, padding=1), 12, 1), nn.Flatten(), nn.Linear(12 * 4 * 3, 3),
            ]  # fmt: skip
        return nn.Sequential(*layers)


class Lanes:
    """Models of one form as lanes of a group, with the stacked tensors of a flat matrix, as the engine holds them."""

    def __init__(self, kind: str, lanes: Sequence[int], seed: int, training: bool) -> None:
        self.models = [Recipe(lane, seed).model(kind).train(training) for lane in lanes]
        self.module = self.models[0]
        for lane_model in self.models:
            for layer in lane_model.modules():
                if isinstance(layer, Dropout):
                    layer.key.fill_(layer.stream ^ seed)
        self.switches = LaneSwitches.of(self.module, switches_by_path(self.models))
        names = [name for name, _ in self.module.named_parameters()]
        sizes = [self.module.get_parameter(name).numel() for name in names]
        self.flat = torch.zeros(len(lanes), sum(sizes) + 16 * len(sizes))
        self.weights, at = {}, 0
        for name, size in zip(names, sizes, strict=True):
            shape = self.module.get_parameter(name).shape
            stack = self.flat[:, at : at + size].view(-1, *shape)
            stack.copy_(torch.stack([model.get_parameter(name).detach() for model in self.models]))
            self.weights[name] = stack.detach().requires_grad_()
            at += size + 16
        self.buffers = {
            name: torch.stack([model.get_buffer(name) for model in self.models])
            for name, _ in self.module.named_buffers()
        }

    def run(self, x: Tensor, *, apart: bool = False) -> list[Tensor]:
        """Output, and the gradients of a function of it in x and all weights, and the running statistics. `apart`: every layer by itself."""
        x = x.detach().requires_grad_()
        binding = binding_of(self.module)
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        with binding.bound({**self.weights, **buffers}), use_switches(self.switches):
            with use_compiled({}):
                if apart:
                    y = x
                    for op in layer_ops_of(self.module):
                        y = LayerOps([op])(y)
                else:
                    y = stacked(self.module, x)
            with torch.no_grad(), use_compiled({}):
                binding.put({name: buffer.clone() for name, buffer in self.buffers.items()})
                again = stacked(
                    self.module, x
                )  # a first convolution is another one where the gradient of x is wanted
                torch.testing.assert_close(again, y, rtol=0, atol=0 if x.ndim == 3 else 1e-4)
        gradients = torch.autograd.grad(
            (y * slope_of(y)).sum(), [x, *self.weights.values()], allow_unused=True
        )
        running = [buffer for name, buffer in buffers.items() if "running" in name]
        return [y, *(torch.zeros(()) if gradient is None else gradient for gradient in gradients), *running]


def slope_of(y: Tensor) -> Tensor:
    """For one lane's output, or the same for all lanes'."""
    return torch.randn(y.shape[-2:], generator=torch.Generator().manual_seed(1)).to(y.dtype)


def input_of(kind: str, lanes: int) -> Tensor:
    torch.manual_seed(3)
    return torch.randn(lanes, 9, 6) if kind == "mlp" else to_channels_last(torch.randn(lanes, 9, 1, 8, 6))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_every_lane_is_its_own_model_in_float64(kind: str, seed: int, training: bool) -> None:
    lanes, x = Lanes(kind, range(LANES), seed, training), input_of(kind, LANES)
    y, to_x, *to = lanes.run(x)
    gradients = dict(zip(lanes.weights, to, strict=False))
    for lane, model in enumerate(lanes.models):
        inputs = x[lane].double().requires_grad_()
        right = model.double()(inputs)
        named = dict(model.named_parameters())
        first, *rest = torch.autograd.grad(
            (right * slope_of(right)).sum(), [inputs, *named.values()], allow_unused=True
        )
        torch.testing.assert_close(y[lane].double(), right, rtol=1e-3, atol=1e-4)
        scale = float(first.abs().max().clamp_min(1))
        torch.testing.assert_close(to_x[lane].double(), first, rtol=1e-3, atol=1e-4 * scale)
        for name, reference in zip(named, rest, strict=True):
            if (
                reference is not None and "bias" not in name
            ):  # a bias before a norm over the examples has a gradient of nothing but rounding
                scale = float(reference.abs().max().clamp_min(1))
                torch.testing.assert_close(
                    gradients[name][lane].double(), reference, rtol=1e-3, atol=3e-4 * scale
                )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_a_fused_op_is_its_layers_one_by_one_and_a_lane_what_it_is_alone(
    kind: str, seed: int, training: bool
) -> None:
    x = input_of(kind, LANES)
    together = Lanes(kind, range(LANES), seed, training).run(x)
    for one, other in zip(
        together, Lanes(kind, range(LANES), seed, training).run(x, apart=True), strict=True
    ):
        assert torch.equal(one, other)
    for lane in (0, 3, LANES - 1):
        alone = Lanes(kind, [lane], seed, training).run(x[lane : lane + 1])
        for one, other in zip(together, alone, strict=True):
            if one.ndim and other.ndim:
                assert torch.equal(one[lane], other[0])


def test_whole_models_are_one_fused_op() -> None:
    for kind in ("mlp", "convnet"):
        lanes = Lanes(kind, range(3), 0, True)
        binding_of(lanes.module).put({**lanes.weights, **lanes.buffers})
        with use_switches(lanes.switches):
            layer_ops = LayerOps(layer_ops_of(lanes.module))
        with use_compiled({}):
            fused = layer_ops._fused_from(0, input_of(kind, 3))
        assert fused is not None
        assert len(fused.ops) == len(layer_ops.layer_ops)


FUSED = {
    "linear": ([LinearOp(5, 4, True), LinearOp(4, 3, False)], (6, 5), [(4, 5), (4,), (3, 4)]),
    "convolution": (
        [ConvolutionOp((8, 5), (3, 3), (1, 1), (1, 1), True), MaxPoolOp((2, 2)), FlattenOp()], (3, 5, 4, 4), [(8, 5, 3, 3), (8,)],
    ),
    "positions": (
        [ConvolutionOp((12, 8), (1, 1), (1, 1), (0, 0), True, frozenset({1})), ConvolutionOp((5, 12), (1, 1), (1, 1), (0, 0), False)],
        (3, 8, 4, 3), [(12, 8, 1, 1), (12,), (5, 12, 1, 1)],
    ),
    "strides": ([ConvolutionOp((8, 7), (3, 3), (2, 2), (1, 1), True)], (3, 7, 9, 6), [(8, 7, 3, 3), (8,)]),
    "means": ([ConvolutionOp((8, 8), (3, 3), (1, 1), (1, 1), False), GlobalMeanOp(), FlattenOp(), LinearOp(8, 2, True)], (3, 8, 4, 4),
              [(8, 8, 3, 3), (2, 8), (2,)]),
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_a_gradient_of_the_gradient_is_torchs(name: str) -> None:
    ops, shape, weights = FUSED[name]
    torch.manual_seed(5)
    x = torch.randn(2, *shape)
    x = (to_channels_last(x) if x.ndim == 5 else x).requires_grad_()
    tensors = [torch.randn(2, *sizes, requires_grad=True) for sizes in weights]
    wanted = [x, *tensors]

    def penalty(y: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(y.square().sum(), wanted, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), wanted))

    fused = FusedOp(ops)
    y = fused(x, tensors)
    for mine, right in zip(penalty(y), penalty(fused.eager(x, tensors, [])), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


@pytest.mark.parametrize("name", FUSED)
def test_only_what_is_wanted_has_a_gradient_and_lanes_may_share_their_input(name: str) -> None:
    ops, shape, weights = FUSED[name]
    torch.manual_seed(6)
    x = torch.randn(1, *shape).expand(3, *[-1] * len(shape))
    tensors = [torch.randn(3, *sizes) for sizes in weights]
    tensors[0].requires_grad_()
    fused = FusedOp(ops)
    y = fused(to_nchw(to_nhwc(x)), tensors)
    (slope,) = torch.autograd.grad((y * slope_of(y)).sum(), tensors[:1])
    right = fused.eager(x, tensors, [])
    torch.testing.assert_close(y, right, rtol=1e-4, atol=1e-4)
    (expected,) = torch.autograd.grad((right * slope_of(right)).sum(), tensors[:1])
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-4)


def test_a_layer_that_comes_several_times_has_the_sum_of_its_gradients() -> None:
    torch.manual_seed(7)
    flat, x = torch.randn(3, 64), torch.randn(3, 6, 5)
    weight, bias = (
        tensor.detach().requires_grad_() for tensor in (flat[:, :25].view(3, 5, 5), flat[:, 32:37])
    )
    op, times = LinearOp(5, 5, True), 4
    y = FusedOp([op] * times)(x, [weight, bias] * times)
    gradients = torch.autograd.grad((y * slope_of(y)).sum(), [weight, bias])
    one_by_one = x
    for _ in range(times):
        one_by_one = FusedOp([op])(one_by_one, [weight, bias])
    apart = torch.autograd.grad((one_by_one * slope_of(y)).sum(), [weight, bias])
    right = x.double()
    wide = [tensor.detach().double().requires_grad_() for tensor in (weight, bias)]
    for _ in range(times):
        right = torch.baddbmm(wide[1][:, None], right, wide[0].mT)
    expected = torch.autograd.grad((right * slope_of(y).double()).sum(), wide)
    for mine, slope_apart, reference in zip(gradients, apart, expected, strict=True):
        assert torch.equal(mine, slope_apart)
        torch.testing.assert_close(mine.double(), reference, rtol=1e-4, atol=1e-3)


def test_weights_of_another_type_are_refused() -> None:
    with pytest.raises(TypeError, match=r"float32 weights, not torch\.float64"):
        FusedOp([LinearOp(5, 4, False)])(torch.randn(2, 3, 5), [torch.randn(2, 4, 5, dtype=torch.float64)])


@pytest.mark.parametrize(
    ("op", "shape", "fits"),
    [
        (ConvolutionOp((16, 1), (3, 3), (2, 2), (1, 1), True), (64, 1, 8, 8), True),
        (ConvolutionOp((32, 3), (3, 3), (1, 1), (1, 1), True), (64, 3, 28, 28), True),
        (ConvolutionOp((6, 3), (3, 3), (1, 1), (1, 1), True), (64, 3, 28, 28), False),  # vectors would be mostly empty
        (ConvolutionOp((32, 3), (3, 3), (2, 2), (1, 1), True), (64, 3, 224, 224), False),
        (ConvolutionOp((16, 16), (3, 3), (1, 1), (1, 1), True), (64, 16, 4, 4), True),
        (ConvolutionOp((9, 7), (3, 3), (1, 1), (1, 1), True), (64, 7, 4, 4), True),
        (ConvolutionOp((32, 16), (3, 3), (1, 1), (1, 1), True), (64, 16, 28, 28), True),
        (ConvolutionOp((9, 7), (3, 3), (1, 1), (1, 1), True), (64, 7, 28, 28), False),
        (ConvolutionOp((16, 16), (3, 3), (2, 2), (1, 1), True), (64, 16, 28, 28), False),
        (ConvolutionOp((256, 256), (3, 3), (1, 1), (1, 1), True), (64, 256, 8, 8), False),
        (ConvolutionOp((16, 16), (3, 3), (1, 1), (1, 1), True), (64, 16, 112, 112), False),
        (ConvolutionOp((14, 32), (1, 1), (1, 1), (0, 0), True), (32, 32, 6, 6), True),
        (ConvolutionOp((14, 32), (1, 1), (2, 2), (0, 0), True), (32, 32, 6, 6), False),
        (ConvolutionOp((128, 64), (1, 1), (1, 1), (0, 0), True), (128, 64, 14, 14), False),
        (ConvolutionOp((16, 8), (3, 3), (2, 2), (1, 1), True), (32, 8, 12, 12), True),
        (ConvolutionOp((16, 9), (3, 3), (2, 2), (1, 1), True), (32, 9, 12, 12), False),
        (LinearOp(128, 128, True), (64, 128), True),
        (LinearOp(784, 128, True), (64, 784), False),
        (LinearOp(8, 8, True), (4, 3, 8, 8), False),  # along the last side of maps
        (MaxPoolOp((2, 2)), (3, 8, 7, 5), True),
        (MaxPoolOp((2, 2)), (3, 8, 1, 5), False),
        (MaxPoolOp((7, 7)), (3, 8, 7, 7), False),
    ],
)  # fmt: skip
def test_what_compiled_code_takes(op, shape: tuple[int, ...], fits: bool) -> None:
    assert (op.output_shape(shape, channels_last=True) is not None) == fits
