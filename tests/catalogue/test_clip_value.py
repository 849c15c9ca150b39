"""Clipping by value against torch.nn.utils.clip_grad_value_."""

from __future__ import annotations

import torch
from gradient_cases import changed, random_gradients
from sweep import sweep


@sweep("seed", range(5))
def test_equals_torch(seed: int) -> None:
    gradients = random_gradients(20, seed)
    limits = torch.logspace(-3, 1, 20).tolist()
    clipped = changed("clip_value", gradients, [{"limit": limit} for limit in limits])
    for lane, limit in enumerate(limits):
        for name, tensor in gradients.items():
            parameter = torch.zeros_like(tensor[lane]).requires_grad_()
            parameter.grad = tensor[lane].clone()
            torch.nn.utils.clip_grad_value_([parameter], limit)
            torch.testing.assert_close(clipped[name][lane], parameter.grad)


def test_without_the_trick_nothing_changes() -> None:
    gradients = random_gradients(2, 0)
    assert torch.equal(changed("clip_value", gradients, [None, None]).flat, gradients.flat)
