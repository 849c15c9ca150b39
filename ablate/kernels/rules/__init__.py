"""Lowering rules, a file for each kind of layer. Importing this package registers them all."""

from ablate.kernels.rules import (
    activations,
    convolution,
    dropout,
    embedding,
    linear,
    norms,
    pooling,
    recompute,
    residual,
    shapes,
    site,
    switch,
)

__all__ = [
    "activations", "convolution", "dropout", "embedding", "linear", "norms", "pooling", "recompute", "residual", "shapes", "site", "switch",
]  # fmt: skip
