"""Muon against its author's algorithm on singular values, and against torch's Adam for what is no hidden matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from optimizer_cases import SHAPES, Step, assert_equal_to, from_torch
from sweep import sweep
from torch import Tensor

from ablate.catalogue.optimizer.muon import is_hidden_matrix, orthogonalised
from ablate.seams.tensors import Spec


def polynomial(matrix: np.ndarray) -> np.ndarray:
    """Five times a s + b s³ + c s⁵ on the singular values of the matrix over its Frobenius norm."""
    left, values, right = np.linalg.svd(matrix / max(np.linalg.norm(matrix), 1e-7), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left * values @ right


def reference(settings: Mapping[str, Any]) -> Step:
    adam = from_torch(torch.optim.Adam, betas=(0.9, 0.95), eps=1e-8)({"lr": settings["lr"]})
    mu = settings["momentum"]
    momenta: dict[str, np.ndarray] = {}

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        adam({n: w for n, w in weights.items() if w.ndim == 1}, gradients, factor)
        for name, tensor in weights.items():
            if tensor.ndim == 1:
                continue
            g = gradients[name].numpy()
            momenta[name] = mu * momenta.get(name, 0 * g) + (1 - mu) * g
            update = polynomial(mu * momenta[name] + (1 - mu) * g)
            rate = settings["lr"] * factor * 0.2 * max(g.shape) ** 0.5
            tensor.sub_(torch.from_numpy(rate * update))

    return step


@sweep("seed", range(4))
def test_equals_the_reference(seed: int) -> None:
    assert all(len(shape) < 3 for shape in SHAPES.values())
    assert_equal_to("muon", reference, seed, lanes=25, steps=12)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-8])
def test_a_matrix_below_the_guard_of_the_norm_is_not_blown_up(scale: float) -> None:
    """Only a norm above 10⁻⁷ is divided by."""
    matrix = scale * torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction = orthogonalised(matrix[None])[0]
    torch.testing.assert_close(direction, torch.from_numpy(polynomial(matrix.numpy())))


def test_singular_values_end_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 8, 8), (3, 5, 20), (3, 20, 5)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(*shape, generator=generator)))
        assert values.max() < 1.3
        assert values.median() > 0.65


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Spec("conv.weight", (8, 3, 3, 3), "weight"), True),
        (Spec("head.weight", (3, 8), "weight", True), False),
        (Spec("words.weight", (100, 8), "embedding"), False),
        (Spec("norm.weight", (8,), "norm"), False),
        (Spec("gain", (8, 1), "other"), False),
    ],
)
def test_only_hidden_matrices_are_made_orthogonal(spec: Spec, expected: bool) -> None:
    assert is_hidden_matrix(spec) is expected
