"""What a step saves for its backward pass."""

import pytest
import torch

from ablate.lanes.memory import kept_bytes


def test_saved_tensors_are_counted_once() -> None:
    x = torch.ones(4, 8, requires_grad=True)
    assert kept_bytes(lambda: (x * x).sum()) == x.nbytes


def test_gradients_by_torch_func_forbid_to_count() -> None:
    x = torch.ones(4, 8, requires_grad=True)
    assert kept_bytes(lambda: torch.func.grad(lambda v: (v * v).sum())(x)) is None


def test_other_errors_surface() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        kept_bytes(lambda: torch.ones(2, 3) @ torch.ones(2, 3))
