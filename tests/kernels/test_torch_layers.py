"""The layers and functions that people's networks are made of on stacked tensors: what each lane's own module computes, gradients and
buffers included, the same bits in any group, and nothing vmapped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from kernel_lanes import assert_each_lane_is_its_own_module, assert_same_alone_and_among_others
from torch import Tensor, nn

from ablate.kernels.compiled import unavailable_reason, use_compiled
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.stacked import is_covered, stacked
from ablate.kernels.support import trace_matches
from ablate.surgery.attention_dropout import count_draws

LANES, EXAMPLES = 4, 6


class Forward(nn.Module):
    """A module with these layers, whose forward is a function of itself and x."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def attended(self: nn.Module, x: Tensor) -> Tensor:
    """Written out as in many repositories, with learned positions."""
    b, t, c = x.shape
    x = x + self.positions(torch.arange(t, device=x.device))
    q, k, v = (each(x).view(b, t, 2, -1).transpose(1, 2) for each in (self.q, self.k, self.v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
    return self.norm(x + self.down(F.gelu(self.up(y))))


def smooth(self: nn.Module, x: Tensor) -> Tensor:
    x = torch.sigmoid(self.one(x)) * F.silu(self.two(x)).tanh()
    return torch.exp(x) + F.gelu(x, approximate="tanh") + F.softmax(x, dim=-1)


def reduced(self: nn.Module, x: Tensor) -> Tensor:
    y = self.conv(x)
    parts = [
        y.mean((2, 3)),
        y.sum(dim=(-1, -2)),
        y.amax((2, 3)),
        y.flatten(2).max(2)[0],
        y.mean(3).min(dim=2).values,
    ]
    return torch.cat(parts, 1) * y.mean(dim=(1, 2, 3), keepdim=True).flatten(1)


def product(self: nn.Module, x: Tensor) -> Tensor:
    scores = x @ self.weight @ x.transpose(1, 2)
    return torch.bmm(torch.softmax(scores * torch.tensor(0.5), dim=-1), x)


def encoder(**settings: object) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, **settings)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def counted_encoder() -> nn.Module:
    """Lanes that differ in p and in what they draw; one of four drops nothing."""
    module = encoder(norm_first=True)
    key = int(torch.randint(2**30, ()))
    for number, layer in enumerate(module.layers):
        count_draws(layer.self_attn, 0.2 * (key % 4), f"model/{number}")
        layer.self_attn.weight_dropout.key.fill_(key + number)
    return module


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "attention": (
        lambda: Forward(
            attended, positions=nn.Embedding(5, 8), norm=nn.LayerNorm(8), up=nn.Linear(8, 12), down=nn.Linear(12, 8),
            **{name: nn.Linear(8, 8) for name in "qkv"},
        ),
        (5, 8),
    ),
    "smooth": (lambda: Forward(smooth, one=nn.Linear(7, 5), two=nn.Linear(7, 5)), (7,)),
    "reduced": (lambda: Forward(reduced, conv=nn.Conv2d(3, 5, 3)), (3, 7, 6)),
    "product": (lambda: Forward(product, weight=nn.Parameter(torch.randn(6, 6))), (4, 6)),
    "encoder": (encoder, (5, 8)),
    "encoder, norms first, gelu": (lambda: encoder(norm_first=True, activation="gelu"), (5, 8)),
    "encoder, dropout of attention": (counted_encoder, (5, 8)),
    "encoder, tokens first": (
        lambda: nn.TransformerEncoderLayer(8, 4, 12, dropout=0.0, activation=nn.SiLU()), (5, 8),
    ),
    "text": (
        lambda: nn.Sequential(nn.Conv1d(6, 10, 3, stride=2, padding=2, dilation=2), nn.GELU(), nn.MaxPool1d(2), nn.Conv1d(10, 4, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        (6, 11),
    ),
    "grouped convolution": (lambda: nn.Conv1d(6, 4, 3, groups=2), (6, 9)),
    "batch norm": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 6), nn.BatchNorm1d(6)), (3, 5, 5)),
    "batch norm, cumulative": (lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6, momentum=None)), (5,)),
    "norm of weights alone": (lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6, bias=False), nn.RMSNorm(6)), (5,)),
    "group norm": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Sigmoid()), (3, 5, 5)),
    "layer norm of tokens": (lambda: nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.Tanh(), nn.LayerNorm([4, 12])), (4, 6)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2), nn.Softmax(dim=1)), (3, 4, 4)),
}  # fmt: skip


def modules(name: str, count: int = LANES) -> list[nn.Module]:
    several = []
    for lane in range(count):
        torch.manual_seed(lane)
        several.append(CASES[name][0]())
        for parameter in several[-1].parameters():
            nn.init.normal_(parameter, 0.1, 0.5)
    return several


def inputs(name: str) -> Tensor:
    return torch.randn(LANES, EXAMPLES, *CASES[name][1], generator=torch.Generator().manual_seed(7))


@pytest.fixture(params=[False, True], ids=["batched", "compiled"])
def kernel(request: pytest.FixtureRequest):
    if request.param and (reason := unavailable_reason()):
        pytest.skip(reason)
    with use_compiled({} if request.param else None):
        yield


@pytest.mark.parametrize("name", CASES)
def test_each_lane_is_its_own_module(name: str, kernel: None):
    several = modules(name)
    assert is_covered(several[0])
    assert trace_matches(several[0], inputs(name)[0])
    assert_each_lane_is_its_own_module(several, inputs(name))


@pytest.mark.parametrize("name", CASES)
def test_a_lane_is_the_same_alone_and_among_others(name: str, kernel: None):
    assert_same_alone_and_among_others(lambda: modules(name), inputs(name))


@pytest.mark.parametrize("name", ["batch norm", "batch norm, cumulative"])
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_follow(name: str, training: bool, kernel: None):
    several, x = [module.train(training) for module in modules(name)], inputs(name)
    binding = binding_of(several[0])
    state = {slot: torch.stack([binding_of(one).tensors()[slot].detach().clone() for one in several]) for slot in binding.slots}  # fmt: skip
    for _ in range(2):
        with binding.bound(state), torch.no_grad():
            y = stacked(several[0], x)
        expected = torch.stack([module(lane) for module, lane in zip(several, x, strict=True)]).detach()
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    for slot, buffers in state.items():
        for lane, module in enumerate(several):
            torch.testing.assert_close(
                buffers[lane], module.state_dict()[slot], rtol=1e-4, atol=1e-5, msg=f"{slot} of lane {lane}"
            )


@pytest.mark.parametrize("padding", [None, 0, 3, 6])
def test_embeddings_look_up_their_own_lane(padding: int | None, kernel: None):
    several = []
    for lane in range(3):
        torch.manual_seed(lane)
        several.append(nn.Embedding(7, 4, padding_idx=padding))
        nn.init.normal_(several[-1].weight)
    tokens = torch.randint(7, (3, 5, 6), generator=torch.Generator().manual_seed(0))
    weight = torch.stack([one.weight.detach() for one in several]).requires_grad_()
    slope = torch.randn(5, 6, 4)
    with binding_of(several[0]).bound({"weight": weight}):
        y = stacked(several[0], tokens)
        (gradient,) = torch.autograd.grad((y * slope).sum(), weight)
    for lane, module in enumerate(several):
        outputs = module(tokens[lane])
        assert torch.equal(y[lane], outputs)
        torch.testing.assert_close(
            gradient[lane], torch.autograd.grad((outputs * slope).sum(), module.weight)[0]
        )


def test_frozen_statistics_of_a_batch_norm_pass_gradients(kernel: None):
    """A batch norm that its model keeps in evaluation mode trains its scale and shift."""
    several = modules("batch norm")
    for module in several:
        module.train()
        module[1].eval()
    assert_each_lane_is_its_own_module(several, inputs("batch norm"))
