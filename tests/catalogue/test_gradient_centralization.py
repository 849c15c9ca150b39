"""Gradient centralisation against the projection of the paper, unit by unit."""

from __future__ import annotations

import numpy as np
import torch
from gradient_cases import changed, random_gradients
from sweep import sweep


@sweep("seed", range(5))
def test_equals_the_projection(seed: int) -> None:
    """Equation 2: P = I − e eᵀ with e the unit vector of equal entries."""
    gradients = random_gradients(20, seed)
    centred = changed("gradient_centralization", gradients, [{}] * 20)
    for name in ("conv", "matrix"):
        units = gradients[name].flatten(2).numpy()
        size = units.shape[2]
        projection = np.eye(size) - np.full((size, size), 1 / size)
        expected = torch.from_numpy(units @ projection).reshape(gradients[name].shape)
        torch.testing.assert_close(
            centred[name], expected, rtol=1e-9, atol=1e-9 * float(gradients[name].abs().max())
        )
    for name in ("bias", "gain"):
        assert torch.equal(centred[name], gradients[name])


def test_other_lanes_are_not_touched() -> None:
    gradients = random_gradients(3, 0)
    centred = changed("gradient_centralization", gradients, [None, {}, None])
    assert torch.equal(centred.flat[::2], gradients.flat[::2])
    assert not torch.equal(centred.flat[1], gradients.flat[1])
