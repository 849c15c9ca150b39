"""torch's transformer layers, so that tricks reach what their `forward` does itself: activation functions and residual additions."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

KINDS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
FUNCTIONS: Mapping[object, type[nn.Module]] = {F.relu: nn.ReLU, F.gelu: nn.GELU}
"""What `activation="relu"` and `"gelu"` stand for -> the layer that computes the same."""


def with_activation_layers(module: nn.Module) -> None:
    """Let torch's transformer layers in `module` hold their activation as a layer, in place. Values, gradients and parameters stay."""
    for layer in module.modules():
        if type(layer) in KINDS and (kind := FUNCTIONS.get(layer.__dict__.get("activation"))) is not None:
            del layer.__dict__["activation"]
            layer.activation = kind()


class GatedEncoderLayer(nn.TransformerEncoderLayer):
    """`nn.TransformerEncoderLayer` without its fused pass, with a gate at each of its two residual additions."""

    residual_0: nn.Module
    residual_1: nn.Module

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        x = self.norm1(src) if self.norm_first else src
        attended = self._sa_block(x, src_mask, src_key_padding_mask, is_causal=is_causal)
        x = self.residual_0(src + attended, attended)
        if self.norm_first:
            fed = self._ff_block(self.norm2(x))
            return self.residual_1(x + fed, fed)  # type: ignore[no-any-return]
        x = self.norm1(x)
        fed = self._ff_block(x)
        return self.norm2(self.residual_1(x + fed, fed))  # type: ignore[no-any-return]


class DroppingEncoderLayer(nn.TransformerEncoderLayer):
    """`nn.TransformerEncoderLayer` without its fused pass, each of its two branches through a layer."""

    dropped_branch_0: nn.Module
    dropped_branch_1: nn.Module

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        x = self.norm1(src) if self.norm_first else src
        x = src + self.dropped_branch_0(
            self._sa_block(x, src_mask, src_key_padding_mask, is_causal=is_causal)
        )
        if self.norm_first:
            return x + self.dropped_branch_1(self._ff_block(self.norm2(x)))  # type: ignore[no-any-return]
        x = self.norm1(x)
        return self.norm2(x + self.dropped_branch_1(self._ff_block(x)))  # type: ignore[no-any-return]


def add_layers(block: nn.Module, layers: Mapping[str, nn.Module], kind: type[nn.Module]) -> bool:
    """Make `block`, if it is torch's encoder layer, one of `kind` with `layers`, in place."""
    if type(block) is not nn.TransformerEncoderLayer or len(layers) != 2:
        return False
    block._modules.update(layers)
    block.__class__ = type(kind.__name__, (kind,), {"forward": kind.forward})
    return True
