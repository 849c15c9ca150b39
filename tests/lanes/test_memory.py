"""What a step saves for its backward pass."""

import pytest
import torch

from ablate.lanes.memory import kept_bytes, peak_bytes_of


def test_saved_tensors_are_counted_once() -> None:
    x = torch.ones(4, 8, requires_grad=True)
    assert kept_bytes(lambda: (x * x).sum()) == x.nbytes


def test_gradients_by_torch_func_forbid_to_count() -> None:
    x = torch.ones(4, 8, requires_grad=True)
    assert kept_bytes(lambda: torch.func.grad(lambda v: (v * v).sum())(x)) is None


def test_live_bytes_are_counted_under_torch_func() -> None:
    x = torch.ones(256, 1024)

    def step() -> None:
        y = x * 2
        del y
        torch.func.grad(lambda v: (v * v).sin().sum())(x)

    peak = peak_bytes_of(step) / x.nbytes
    assert (
        3 <= peak < 6
    )  # at least v · v, the cosine of it and their product; nothing of what was freed before


def test_memory_that_is_freed_and_views_are_not_counted_twice() -> None:
    x = torch.ones(256, 1024)

    def step() -> None:
        for _ in range(5):
            (x + 1).t().reshape(-1)

    assert peak_bytes_of(lambda: x.t()[3:]) == 0
    assert peak_bytes_of(step) == 2 * x.nbytes  # a sum and its transpose in another order


@pytest.mark.filterwarnings("ignore:Sparse CS")
@pytest.mark.parametrize(
    "to", [torch.Tensor.to_sparse_coo, torch.Tensor.to_sparse_csr, torch.Tensor.to_sparse_csc]
)
def test_sparse_tensors_count_with_indices_and_values(to) -> None:
    graph, x = to(torch.eye(4)), torch.ones(4, 8, requires_grad=True)
    counted = kept_bytes(lambda: torch.sparse.mm(graph, x * 2).sum())
    assert counted is not None
    assert counted >= 4 * 4  # the values at least


def test_other_errors_surface() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        kept_bytes(lambda: torch.ones(2, 3) @ torch.ones(2, 3))
