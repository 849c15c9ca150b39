"""Gradient normalisation against numpy's norm, tensor by tensor."""

from __future__ import annotations

import numpy as np
import torch
from gradient_cases import changed, random_gradients
from sweep import sweep


@sweep("seed", range(5))
def test_every_tensor_has_length_one(seed: int) -> None:
    gradients = random_gradients(20, seed)
    normalized = changed("gradient_normalization", gradients, [{}] * 20)
    for name, tensor in gradients.items():
        for lane in range(20):
            slope = tensor[lane].numpy()
            expected = slope / (np.sqrt((slope**2).sum()) + 1e-8)
            np.testing.assert_allclose(normalized[name][lane].numpy(), expected, rtol=1e-10)


def test_zero_stays_zero_and_other_lanes_are_not_touched() -> None:
    gradients = random_gradients(3, 0)
    gradients["bias"].zero_()
    normalized = changed("gradient_normalization", gradients, [None, {}, None])
    assert torch.equal(normalized.flat[::2], gradients.flat[::2])
    assert normalized["bias"].eq(0).all()
