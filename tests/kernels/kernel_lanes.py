"""Several modules of one form, run as lanes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ablate.kernels.compiled import is_enabled, use_compiled
from ablate.kernels.memory_format import to_channels_last
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.stacked import stacked


def run(several: list[nn.Module], x: Tensor, seed: int) -> list[Tensor]:
    """The output on stacked tensors, and the gradients of a random function of it in x and all parameters."""
    module = several[0]
    state = {
        name: torch.stack([binding_of(one).tensors()[name].detach() for one in several])
        for name in binding_of(module).slots
    }
    weights = [state[name].requires_grad_() for name, _ in module.named_parameters()]
    x = (to_channels_last(x) if x.ndim == 5 else x).detach().requires_grad_()
    with binding_of(module).bound(state), use_compiled({} if is_enabled() else None):
        y = stacked(module, x)
    slope = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(seed))
    gradients = torch.autograd.grad((y * slope).sum(), [x, *weights], allow_unused=True)
    return [y, *(gradient for gradient in gradients if gradient is not None)]


def assert_each_lane_is_its_own_module(several: list[nn.Module], x: Tensor) -> None:
    """`x` `[K, B, …]` on stacked tensors against each lane's module called as it is: value and all gradients."""
    y, to_x, *to_weights = run(several, x, 1)
    for lane, module in enumerate(several):
        value = x[lane].clone().requires_grad_()
        expected = module(value)
        slope = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(1))
        first, *rest = torch.autograd.grad((expected * slope).sum(), [value, *module.parameters()])
        torch.testing.assert_close(y[lane], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(to_x[lane], first, rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(to_weights, rest, strict=True):
            torch.testing.assert_close(mine[lane], theirs, rtol=1e-4, atol=1e-4)


def assert_same_alone_and_among_others(make: Callable[[], list[nn.Module]], x: Tensor) -> None:
    """Lane 2 of four against itself alone and with one other: the same bits, gradients included. `make`: the four, anew."""
    together = run(make(), x, 1)
    for chosen in ([2], [3, 2]):
        apart = run([make()[lane] for lane in chosen], x[chosen], 1)
        for mine, theirs in zip(together, apart, strict=True):
            assert torch.equal(mine[2], theirs[chosen.index(2)])
