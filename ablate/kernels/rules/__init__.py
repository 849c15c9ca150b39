"""Lowering rules, a file for each kind of layer. Importing this package registers them all."""

from ablate.kernels.rules import (
    activations,
    adversarial,
    attention,
    convolution,
    convolution_1d,
    dropout,
    embedding,
    linear,
    norms,
    pooling,
    recompute,
    recurrent,
    residual,
    shapes,
    site,
    switch,
    torch_layers,
    weight_transforms,
    whitening,
)

__all__ = [
    "activations", "adversarial", "attention", "convolution", "convolution_1d", "dropout", "embedding", "linear", "norms", "pooling", "recompute", "recurrent", "residual",
    "shapes", "site", "switch", "torch_layers", "weight_transforms", "whitening",
]  # fmt: skip
