"""Leave vmap for one operation of a model, which then runs lane by lane.

For operations that round differently under vmap (norms, some activations) or are slower (convolutions on a CPU, which vmap turns into
grouped ones).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Lane = Callable[[int, Tensor, Sequence[Tensor]], Tensor]
"""(lane, its input, its tensors) -> its output."""
CONVOLUTIONS = frozenset(
    {
        torch.conv1d, torch.conv2d, torch.conv3d,
        torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
    }
)  # fmt: skip

POSITION_DEPENDENT = frozenset(
    {
        "acosh", "asinh", "atan2", "atanh", "celu", "cos", "cosh", "elu", "erf", "exp", "exp2", "expm1", "gelu", "hardsigmoid",
        "hardswish", "log", "log10", "log1p", "log2", "log_sigmoid", "logaddexp", "mish", "pow", "rsqrt", "selu", "sigmoid", "silu",
        "sin", "sinh", "softplus", "special_expit", "tan", "tanh",
    }
)  # fmt: skip
"""Pointwise functions that torch vectorises except at the end of a tensor, where they may round differently."""


class _LeaveVmap(torch.autograd.Function):
    """Its vmap rule gets the stacked tensors and calls the function lane by lane, recorded by autograd as usual."""

    generate_vmap_rule = False
    twins = False

    @staticmethod
    def forward(call: Lane, *tensors: Tensor) -> Tensor:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: object) -> None:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def vmap(info, in_dims, call, *tensors):  # type: ignore[no-untyped-def]
        columns = [
            (tensor,) * info.batch_size if dim is None else tensor.unbind(dim)
            for tensor, dim in zip(tensors, in_dims[1:], strict=True)
        ]
        if _LeaveVmap.twins:
            firsts = zip(tensors, in_dims[1:], columns, strict=True)
            x, *state = (
                _First.apply(tensor)  # type: ignore[no-untyped-call]
                if dim == 0 and tensor.requires_grad
                else column[0]
                for tensor, dim, column in firsts
            )
            result = call(0, x, state)
            return torch.stack([result, result.detach()]), 0
        rows = zip(*columns, strict=True)
        return torch.stack([call(lane, x, state) for lane, (x, *state) in enumerate(rows)]), 0


class _First(torch.autograd.Function):
    """The first of two lanes. The zeros of the other's gradient have its memory format, as among many lanes; those of `unbind` would be
    contiguous, and operations on mixed formats may round differently."""

    @staticmethod
    def forward(ctx: Any, pair: Tensor) -> Tensor:
        return pair[0].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.stack([gradient, torch.zeros_like(gradient)])


class _ChannelsLastGrad(torch.autograd.Function):
    """The identity on `[B, C, H, W]`; its gradient is channels-last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return as_channels_last(gradient)


def leave_vmap(call: Lane, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """`call` for each lane, on the lanes' inputs and `tensors`; only under vmap.

    Feature maps, values and gradients alike, keep the channels-last format before and after `call`: the memory format, and so the rounding, of a
    lane must not depend on other lanes.
    """
    channels_last = LaneByLane.active is not None and LaneByLane.active.channels_last and x.ndim == 4

    def channels_last_call(lane: int, value: Tensor, state: Sequence[Tensor]) -> Tensor:
        y = call(lane, _ChannelsLastGrad.apply(as_channels_last(value)), state)  # type: ignore[no-untyped-call]
        output: Tensor = _ChannelsLastGrad.apply(as_channels_last(y))  # type: ignore[no-untyped-call]
        return output.movedim(1, -1)

    outputs: Tensor = _LeaveVmap.apply(channels_last_call if channels_last else call, x, *tensors)  # type: ignore[no-untyped-call]
    return outputs.movedim(-1, 1) if channels_last else outputs


def under_vmap(x: Tensor) -> bool:
    """Whether the tensor is batched by vmap."""
    return bool(torch._C._functorch.is_batchedtensor(x))


@contextmanager
def twins() -> Iterator[None]:
    """Context: there are two lanes, of which the second is a copy whose results are discarded."""
    _LeaveVmap.twins = True
    try:
        yield
    finally:
        _LeaveVmap.twins = False


class LaneByLane(TorchFunctionMode):
    """Context: convolutions and activations under vmap run lane by lane, wherever the model calls them.

    `channels_last`: the memory format of feature maps, before and after.
    """

    active: LaneByLane | None = None

    def __init__(self, *, channels_last: bool) -> None:
        super().__init__()
        self.channels_last = channels_last

    def __enter__(self) -> LaneByLane:
        self._before, LaneByLane.active = LaneByLane.active, self
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        LaneByLane.active = self._before
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in CONVOLUTIONS and under_vmap(args[0]):
            return self._convolved(func, args, kwargs or {})
        if getattr(func, "__name__", "") in POSITION_DEPENDENT:
            tensors = [value for value in args if isinstance(value, Tensor)]
            if tensors and tensors[0] is args[0] and all(map(under_vmap, tensors)):
                numbers = args[len(tensors) :]
                return leave_vmap(
                    lambda _, x, more: func(*map(without_gaps, (x, *more)), *numbers, **(kwargs or {})),
                    tensors[0],
                    tensors[1:],
                )
        return func(*args, **(kwargs or {}))

    def _convolved(self, func: Callable[..., Tensor], args: tuple[Any, ...], rest: dict[str, Any]) -> Tensor:
        x, weight, bias, *more = (*args, None) if len(args) == 2 else args
        bias = rest.pop("bias", bias)

        def lane(_: int, value: Tensor, state: Sequence[Tensor]) -> Tensor:
            kernel, shift = (*state, None)[:2]
            return func(value, kernel, shift, *more, **rest)

        return leave_vmap(lane, x, [weight] if bias is None else [weight, bias])


def without_gaps(x: Tensor) -> Tensor:
    """`x` with its elements next to each other in memory, in the same order.

    torch vectorises over the elements that are next to each other, and the copy that a lane alone is trained with has none in between.
    """
    return x if x.is_contiguous() else x.clone()


def as_channels_last(x: Tensor) -> Tensor:
    """`[B, C, H, W]` in channels-last format."""
    if x.shape[1] == 1:  # ambiguous in torch: later layers would choose the other format
        return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)
