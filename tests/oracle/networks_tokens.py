"""Networks with attention, windows and norms, whose inputs are rows of a table read as four tokens of three numbers, or as they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUTS, TOKENS, WIDTH = 12, 4, 3


class Layers(nn.Module):
    """Layers by name, and a forward pass of `self` and x."""

    def __init__(self, run: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def tokens(x: Tensor) -> Tensor:
    return x.view(-1, TOKENS, WIDTH)


def masked_buffer_weights() -> nn.Module:
    """Weights times a mask that is drawn under the model's seed (MADE)."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(F.relu(F.linear(x, self.first.weight * self.mask, self.first.bias)))

    model = Layers(run, first=nn.Linear(INPUTS, 16), head=nn.Linear(16, 3))
    model.register_buffer("mask", (torch.rand(16, INPUTS) > 0.5).float())
    return model


def sliced_buffer() -> nn.Module:
    """Positions from a table in a buffer."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        t = tokens(x)
        return self.head(F.gelu(self.first(t) + self.positions[: t.size(1)]).mean(1))

    model = Layers(run, first=nn.Linear(WIDTH, 16), head=nn.Linear(16, 3))
    model.register_buffer("positions", torch.randn(9, 16))
    return model


class KeptInEvaluation(nn.Module):
    """A batch norm that stays in evaluation mode, as detectors keep those of their backbones; trained, or frozen too."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(INPUTS, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)
        nn.init.normal_(self.norm.running_mean)
        self.norm.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> KeptInEvaluation:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.first(x))))


def norm_without_scale() -> nn.Module:
    """Frozen bias of a layer, frozen scale of its norm (BitFit turned round)."""
    model = nn.Sequential(nn.Linear(INPUTS, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
    model[0].bias.requires_grad_(False)
    model[1].weight.requires_grad_(False)
    return model


def functional_batch_norm() -> nn.Module:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(
            F.relu(F.batch_norm(self.first(x), self.mean, self.variance, training=self.training))
        )

    model = Layers(run, first=nn.Linear(INPUTS, 16), head=nn.Linear(16, 3))
    model.register_buffer("mean", torch.zeros(16))
    model.register_buffer("variance", torch.ones(16))
    return model


def batch_norm_called_twice() -> nn.Module:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.second(F.relu(self.norm(self.first(x)))))))

    return Layers(
        run,
        first=nn.Linear(INPUTS, 16),
        second=nn.Linear(16, 16),
        norm=nn.BatchNorm1d(16),
        head=nn.Linear(16, 3),
    )


def masked_attention() -> nn.Module:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        t = tokens(x)
        q, k, v = (each(t).view(-1, TOKENS, 2, 4).transpose(1, 2) for each in (self.q, self.k, self.v))
        mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.head(y.transpose(1, 2).flatten(1))

    return Layers(run, **{name: nn.Linear(WIDTH, 8) for name in "qkv"}, head=nn.Linear(8 * TOKENS, 3))


def causal_attention() -> nn.Module:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        t = tokens(x)
        q, k, v = (part.view(-1, TOKENS, 2, 4).transpose(1, 2) for part in self.all(t).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(self.norm(y.transpose(1, 2).reshape(-1, TOKENS, 8))[:, -1])

    return Layers(run, all=nn.Linear(WIDTH, 24), norm=nn.LayerNorm(8), head=nn.Linear(8, 3))


def attention_by_hand() -> nn.Module:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        q, k, v = self.all(tokens(x)).chunk(3, -1)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(8)
        scores = scores.masked_fill(torch.triu(torch.ones(TOKENS, TOKENS), 1).bool(), -1e9)
        return self.head((F.softmax(scores, -1) @ v).flatten(1))

    return Layers(run, all=nn.Linear(WIDTH, 24), head=nn.Linear(8 * TOKENS, 3))


def encoder(**settings: object) -> nn.Module:
    """torch's encoder, tokens first."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, **settings)

    def run(self: nn.Module, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.first(tokens(x)).transpose(0, 1)).mean(0))

    inner = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
    return Layers(run, first=nn.Linear(WIDTH, 8), encoder=inner, head=nn.Linear(8, 3))


def one_layer_three_times() -> nn.Module:
    """ALBERT: one encoder layer, called again and again."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.first(tokens(x))
        for _ in range(3):
            y = self.layer(y)
        return self.head(y.mean(1))

    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return Layers(run, first=nn.Linear(WIDTH, 8), layer=layer, head=nn.Linear(8, 3))


class Windows(nn.Module):
    """Kim (2014): convolutions of several widths, the largest of each."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(WIDTH, 6, size, padding=1) for size in (1, 2, 3))
        self.norm, self.drop, self.head = nn.BatchNorm1d(18), nn.Dropout(0.3), nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        t = tokens(x).transpose(1, 2)
        return self.head(
            self.drop(self.norm(torch.cat([F.relu(conv(t)).max(2)[0] for conv in self.convs], 1)))
        )


def norm_in_two_places() -> nn.Module:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.norm(self.first(x))
        return self.head(self.norm(y + F.silu(self.second(y))))

    return Layers(
        run,
        first=nn.Linear(INPUTS, 16),
        second=nn.Linear(16, 16),
        norm=nn.LayerNorm(16),
        head=nn.Linear(16, 3),
    )


def made_of_sizes() -> nn.Module:
    """Tensors that forward makes: positions looked up, a ramp, zeros like an activation."""

    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.first(x)
        ramp, positions = torch.linspace(0, 1, 16), self.positions(torch.arange(y.size(1))).mean(0)
        return self.head(F.relu(y * ramp + positions + torch.zeros_like(y)))

    return Layers(run, first=nn.Linear(INPUTS, 16), positions=nn.Embedding(16, 16), head=nn.Linear(16, 3))


class Permuted(nn.Module):
    """Features in an order that is drawn when the model is made."""

    def __init__(self) -> None:
        super().__init__()
        self.order = torch.randperm(INPUTS)
        self.first, self.head = nn.Linear(INPUTS, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.first(x[:, self.order])))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "masked_buffer_weights": masked_buffer_weights,
    "sliced_buffer": sliced_buffer,
    "batch_norm_kept_in_evaluation": lambda: KeptInEvaluation(frozen=False),
    "batch_norm_kept_in_evaluation_and_frozen": lambda: KeptInEvaluation(frozen=True),
    "norm_without_scale": norm_without_scale,
    "functional_batch_norm": functional_batch_norm,
    "batch_norm_called_twice": batch_norm_called_twice,
    "masked_attention": masked_attention,
    "causal_attention": causal_attention,
    "attention_by_hand": attention_by_hand,
    "torch_encoder": encoder,
    "torch_encoder_norms_first": lambda: encoder(norm_first=True, activation="gelu"),
    "one_layer_three_times": one_layer_three_times,
    "windows_of_tokens": Windows,
    "norm_in_two_places": norm_in_two_places,
    "made_of_sizes": made_of_sizes,
    "features_permuted": Permuted,
}  # fmt: skip
