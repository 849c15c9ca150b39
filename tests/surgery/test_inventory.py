"""What a model holds already: found, counted, taken out, and never stacked upon."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import narrowed, scopes
from ablate.lanes.context import TaskContext
from ablate.surgery.encoder_layers import with_activation_layers
from ablate.surgery.inventory import Inventory, inventory
from ablate.surgery.net import Net, open_net
from ablate.surgery.observe import observe
from ablate.surgery.untouched import listed, modules_for
from ablate.tasks.task import Task

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
IMAGES, TOKENS, ROWS = (1, 6, 6), (4, 8), (8,)


class Block(nn.Module):
    """A basic block as torchvision writes it; `stride` 2 has a projection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.downsample = projection if stride > 1 else None
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            identity = self.downsample(x)
        if self.skip:
            out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.blocks = nn.Sequential(Block(4, 4, 1), Block(4, 8, 2))
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.blocks(self.stem(x)).mean(dim=(2, 3))))


class PreNorm(nn.Module):
    """A transformer block written by hand, the layers in a ModuleDict."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {"norm1": nn.LayerNorm(8), "attention": nn.MultiheadAttention(8, 2, batch_first=True),
             "norm2": nn.LayerNorm(8), "mlp": nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))}
        )  # fmt: skip
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.parts["norm1"](x)
        x = x + self.parts["attention"](h, h, h)[0]
        x = x + self.parts["mlp"](self.parts["norm2"](x))
        return self.head(x.mean(dim=1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.position = nn.Parameter(torch.zeros(4, 8))
        self.embed, self.body, self.head = nn.Linear(8, 8), nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embed(x) + self.position).mean(dim=1))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(8, 6), HandNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(F.relu(self.norm(self.first(x))), 0.2 if self.training else 0.0))


class HandNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt()


class Shared(nn.Module):
    """One residual layer that is called twice, one GELU for all."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.act, self.head = nn.Linear(8, 6), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3)  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        for _ in range(2):
            x = x + self.act(self.middle(x))
        return self.head(x)


class Branches(nn.Module):
    """Sums that are no skip connections: two branches, a position, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(6, 3)
        self.position = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.one(x))
        y = self.two(x) * gate + self.one(x) * (1 - gate)
        return self.head(y + self.position.expand_as(y))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.0), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))  # fmt: skip


def normed_weights() -> nn.Module:
    return nn.Sequential(
        weight_norm(nn.Linear(8, 8)), nn.ReLU(), spectral_norm(nn.Linear(8, 8)), nn.ReLU(),
        old_weight_norm(nn.Linear(8, 8)), old_spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 3),
    )  # fmt: skip


def net_of(make: Callable[[], nn.Module], shape: tuple[int, ...], *, together: bool = True) -> Net:
    torch.manual_seed(0)
    return open_net(make(), torch.randn(2, *shape), together=together)


def operate(net: Net, trick: str, *, on: bool = True, **settings: object) -> Net:
    values = {**registry()[trick].defaults, **settings}
    registry().code(trick).model(net, SimpleNamespace(on=on, generator=torch.Generator(), **values))
    return net


def held(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Inventory:
    module = make()
    with_activation_layers(module)
    return inventory(module, observe(module, torch.randn(2, *shape)))


@pytest.mark.parametrize(
    ("make", "shape", "text"),
    [
        (ResNet, IMAGES, "6 BatchNorm2d, 1 Dropout, 3 ReLU, 2 residual additions"),
        (PreNorm, TOKENS, "2 LayerNorm, 1 GELU, 2 residual additions"),
        (Encoder, TOKENS, "4 LayerNorm, 6 Dropout, 2 attention dropout, 2 ReLU, 4 residual additions"),
        (Functional, ROWS, "no norm, dropout, activation or residual addition; out of reach: 1 HandNorm, 1 F.dropout in Functional, 1 F.relu in Functional"),
        (Shared, ROWS, "1 GELU, 2 residual additions"),
        (Branches, ROWS, "no norm, dropout, activation or residual addition"),
        (mlp, ROWS, "1 Dropout, 2 GELU"),
        (normed_weights, ROWS, "2 ReLU, 2 weight_norm, 2 spectral_norm"),
    ],
)  # fmt: skip
def test_what_is_held_is_listed(make: Callable[[], nn.Module], shape: tuple[int, ...], text: str) -> None:
    assert held(make, shape).text() == text


def test_observing_leaves_the_module_as_it_was() -> None:
    module = ResNet().train()
    before = copy.deepcopy(module.state_dict())
    state = torch.get_rng_state()
    observe(module, torch.randn(2, *IMAGES, generator=torch.Generator()))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())


def test_norms_are_taken_out() -> None:
    net = operate(net_of(ResNet, IMAGES), "remove_norm")
    torch.manual_seed(0)
    plain, x = ResNet(), torch.randn(4, *IMAGES)
    for layer in plain.modules():
        for name, child in layer.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(layer, name, nn.Identity())
    assert net.touched["remove_norm"] == 6
    assert torch.equal(net.module.eval()(x), plain.eval()(x))


def test_skips_are_taken_out_with_projections() -> None:
    net = operate(net_of(ResNet, IMAGES), "remove_skip")
    torch.manual_seed(0)
    plain, x = ResNet(), torch.randn(4, *IMAGES)
    h = plain.stem(x)
    for block in plain.blocks:
        block.skip = False
        h = block(h)
    assert net.touched["remove_skip"] == 2
    assert torch.equal(net.module(x), plain.head(net.module.drop(h.mean(dim=(2, 3)))))


class Positioned(PreNorm):
    """Other additions in the same `forward`: a position and a mask, which are broadcast, and of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(TOKENS))
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position
        counts = (x > 0).sum(2) + (x > 1).sum(2)
        h = self.parts["norm1"](x) + torch.where(counts > 3, 0.0, -1.0)[..., None]
        attended = self.parts["attention"](h, h, h)[0]
        x = x + attended if self.skip else attended
        branch = self.parts["mlp"](self.parts["norm2"](x))
        x = x + branch if self.skip else branch
        return self.head(x.mean(dim=1))


def test_a_position_that_is_added_does_not_put_residual_additions_out_of_reach() -> None:
    net = operate(net_of(Positioned, TOKENS), "remove_skip")
    plain, x = net_of(Positioned, TOKENS).module, torch.randn(4, *TOKENS)
    assert net.touched["remove_skip"] == 2
    with_skip = plain(x)
    plain.skip = False
    assert torch.equal(net.module(x), plain(x))
    assert not torch.equal(net.module(x), with_skip)


@pytest.mark.parametrize(
    ("make", "shape"), [(ResNet, IMAGES), (PreNorm, TOKENS), (Shared, ROWS), (Positioned, TOKENS)]
)
@pytest.mark.parametrize("training", [True, False])
def test_gates_that_are_open_change_no_bit(
    make: Callable[[], nn.Module], shape: tuple[int, ...], training: bool
) -> None:
    net = operate(net_of(make, shape), "remove_skip", on=False)
    assert net.touched["remove_skip"] == len(net.observed.additions)
    plain, x = net_of(make, shape).module, torch.randn(4, *shape)
    one, other = net.module.train(training)(x), plain.train(training)(x)
    assert torch.equal(one, other)
    for mine, theirs in zip(
        torch.autograd.grad(one.sum(), list(net.module.parameters())),
        torch.autograd.grad(other.sum(), list(plain.parameters())),
        strict=True,
    ):
        assert torch.equal(mine, theirs)
    assert net.module.state_dict().keys() >= plain.state_dict().keys()


def test_a_forward_that_cannot_be_traced_is_left_alone() -> None:
    class Training(ResNet):
        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            h = h + self.blocks[0].conv2(h) * (2 if self.training else 1)
            return self.head(h.mean(dim=(2, 3)).repeat(1, 2))

    net = net_of(Training, IMAGES)
    assert net.observed.additions
    operate(net, "remove_skip")
    assert "remove_skip" not in net.touched
    assert {why for _, why in net.left["remove_skip"]} == {"out of reach"}


def test_the_models_dropout_changes_its_p_and_none_is_added() -> None:
    net = operate(net_of(ResNet, IMAGES), "dropout", p=0.4)
    drops = {path: layer.p for path, layer in net.module.named_modules() if type(layer).__name__ == "Dropout"}
    assert drops == {"drop": 0.4}
    net = operate(net_of(ResNet, IMAGES), "dropout", p=0.2)
    assert "dropout" not in net.touched
    assert net.redundant == {"dropout": {"p": [0.2]}}
    net = operate(net_of(Encoder, TOKENS), "dropout", p=0.3)
    assert net.touched["dropout"] == 8, "six layers and two attentions"
    assert {layer.dropout for layer in net.module.modules() if isinstance(layer, nn.MultiheadAttention)} == {0.3}  # fmt: skip
    assert "dropout" not in operate(net_of(Functional, ROWS), "dropout").touched


def test_dropout_is_taken_out() -> None:
    net = operate(net_of(Encoder, TOKENS), "remove_dropout")
    assert net.touched["remove_dropout"] == 8
    x = torch.randn(4, *TOKENS)
    assert torch.equal(net.module.train()(x), net.module(x))
    net = operate(net_of(mlp, ROWS), "remove_dropout")
    assert net.left["remove_dropout"] == {("Dropout", "with p = 0"): 1}


def test_weight_norms_are_taken_off_and_the_function_stays() -> None:
    plain, x = net_of(normed_weights, ROWS).module.eval(), torch.randn(4, *ROWS)
    expected = plain(x)
    net = operate(net_of(normed_weights, ROWS), "remove_weight_norm")
    assert net.touched["remove_weight_norm"] == 4
    names = {name for name, _ in net.module.named_parameters()}
    assert names == {f"{i}.{name}" for i in (0, 2, 4, 5, 6) for name in ("weight", "bias")}
    torch.testing.assert_close(net.module.eval()(x), expected, rtol=1e-4, atol=1e-5)


def test_no_skip_is_added_in_a_residual_block() -> None:
    for make, shape in ((ResNet, IMAGES), (PreNorm, TOKENS), (Shared, ROWS)):
        net = operate(net_of(make, shape), "skip_connection")
        assert "skip_connection" not in net.touched
        assert any(why == "in residual blocks" for _, why in net.left["skip_connection"])
    assert operate(net_of(mlp, ROWS), "skip_connection").touched["skip_connection"] == 2


def context_of(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> TaskContext:
    x, y = torch.randn(60, *shape), torch.arange(60) % 3
    task = Task(make, (x[:40], y[:40]), (x[40:], y[40:]), False, name="held", epochs=1, batch_size=10)
    return TaskContext.of(task, registry(), torch.device("cpu"))


def test_tricks_say_what_they_touch_and_why_they_do_not_apply() -> None:
    by_trick = scopes(context_of(ResNet, IMAGES))
    assert by_trick["batch_norm"].why_not == "the model has 6 BatchNorm2d already"
    assert by_trick["layer_norm"].text() == "6 of 6"
    assert by_trick["remove_weight_norm"].why_not == "the model has no weight_norm or spectral_norm"
    by_trick = scopes(context_of(Functional, ROWS))
    assert by_trick["batch_norm"].why_not == "the model has 1 HandNorm out of reach"
    functions = {"dropout": "dropout", "remove_dropout": "dropout", "activation": "relu"}
    for trick, function in functions.items():
        module = "nn.ReLU" if function == "relu" else "nn.Dropout"
        reason = (
            f"the model has 1 F.{function} in Functional out of reach: use {module} instead of a function"
        )
        assert by_trick[trick].why_not == reason
    assert by_trick["remove_norm"].why_not == "the model has 1 HandNorm out of reach"


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(8, 4, 2, batch_first=True, dropout=0.1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.cells(x)[0][:, -1]))


def test_what_a_model_drops_or_activates_elsewhere_is_not_denied() -> None:
    by_trick = scopes(context_of(Recurrent, TOKENS), ("remove_dropout", "activation"))
    assert (
        by_trick["remove_dropout"].why_not == "the model's dropout is inside LSTM, where no trick changes it"
    )
    assert "no activation modules (functional" in by_trick["activation"].why_not
    assert scopes(context_of(mlp, ROWS))["remove_dropout"].why_not == "the model has no dropout layers that drop anything"  # fmt: skip


def test_what_is_left_is_counted_in_the_singular_and_the_plural() -> None:
    left = {
        ("residual addition in Block", "out of reach"): 1,
        ("layer", "in residual blocks"): 2,
        ("GELU", "already"): 2,
    }
    assert listed(left) == "1 residual addition in Block out of reach, 2 layers in residual blocks, 2 GELU already"  # fmt: skip
    assert listed({("residual addition in Block", "out of reach"): 3}) == "3 residual additions in Block out of reach"  # fmt: skip


def test_functions_have_their_modules_and_layers_of_the_user_have_none() -> None:
    calls = [
        "F.batch_norm in Net",
        "F.leaky_relu in Net",
        "F.relu6 in Net",
        "F.dropout2d in A",
        "F.rms_norm in A",
    ]
    batch_norms = "nn.BatchNorm1d or nn.BatchNorm2d or nn.BatchNorm3d"
    assert modules_for(calls) == f"{batch_norms} or nn.LeakyReLU or nn.ReLU6 or nn.Dropout2d or nn.RMSNorm"
    assert modules_for(["HandNorm", "F.celu in Net"]) == ""


def test_settings_that_are_the_models_own_leave_the_search_space() -> None:
    context = context_of(mlp, ROWS)
    by_trick = scopes(context)
    assert by_trick["activation"].why_not == "", "the default is GELU, as the model's; others are not"
    kind = narrowed(context, by_trick).catalogue["activation"].parameter("kind")
    assert "gelu" not in kind.choices
    assert kind.default in kind.choices
    assert "gelu" in registry()["activation"].parameter("kind").choices
