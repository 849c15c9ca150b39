"""Leave vmap at one place in a model: there, lanes run one after another.

What is rounded differently with other lanes beside it (norms, some activations), or is slower together than one by
one (convolutions on a CPU, which vmap makes grouped ones), leaves vmap here and comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Lane = Callable[[int, Tensor, Sequence[Tensor]], Tensor]
"""(lane, its input, its tensors) -> its output."""
CONVOLVE = frozenset(
    {
        torch.conv1d, torch.conv2d, torch.conv3d,
        torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
    }
)  # fmt: skip

ROUNDED = frozenset(
    {
        "celu", "cos", "elu", "erf", "exp", "exp2", "expm1", "gelu", "hardsigmoid", "hardswish", "log", "log10", "log1p",
        "log2", "log_sigmoid", "mish", "pow", "rsqrt", "selu", "sigmoid", "silu", "sin", "softplus", "tanh",
    }
)  # fmt: skip
"""Pointwise functions that torch computes for a few vectors at a time and, at a tensor's end, one by one: which may round differently."""


class _Escape(torch.autograd.Function):
    """Leaves vmap at one place: its vmap rule is handed the stacked tensors and runs lane by lane.

    The operations inside the rule are ordinary ones, recorded by autograd as usual.
    """

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
        if _Escape.twins:
            firsts = zip(tensors, in_dims[1:], columns, strict=True)
            x, *state = (
                _First.apply(tensor)  # type: ignore[no-untyped-call]
                if dim == 0 and tensor.requires_grad
                else column[0]
                for tensor, dim, column in firsts
            )
            own = call(0, x, state)
            return torch.stack([own, own.detach()]), 0
        rows = zip(*columns, strict=True)
        return torch.stack([call(lane, x, state) for lane, (x, *state) in enumerate(rows)]), 0


class _First(torch.autograd.Function):
    """The first of two lanes. Its gradient lies in memory as it does among many lanes: the zeros beside it have its
    layout, where `unbind` would make plain ones, and operations on mixed layouts may round differently."""

    @staticmethod
    def forward(ctx: Any, pair: Tensor) -> Tensor:
        return pair[0].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.stack([gradient, torch.zeros_like(gradient)])


class _Innermost(torch.autograd.Function):
    """The identity on `[B, C, H, W]`, whose gradient lies in memory with the channels innermost."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return channels_last(gradient)


def leave_vmap(call: Lane, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """`call` for each lane, on the lanes' inputs and `tensors`; only under vmap.

    Where the channels of feature maps lie innermost, they do so on either side of `call`, values and gradients alike:
    a lane must not be computed in another layout, and so rounded otherwise, because of what its neighbours do.
    """
    innermost = LaneByLane.active is not None and LaneByLane.active.innermost and x.ndim == 4

    def own(lane: int, value: Tensor, state: Sequence[Tensor]) -> Tensor:
        y = call(lane, _Innermost.apply(channels_last(value)), state)  # type: ignore[no-untyped-call]
        match_grad_layout: Tensor = _Innermost.apply(channels_last(y))  # type: ignore[no-untyped-call]
        return match_grad_layout.movedim(1, -1)

    together: Tensor = _Escape.apply(own if innermost else call, x, *tensors)  # type: ignore[no-untyped-call]
    return together.movedim(-1, 1) if innermost else together


def under_vmap(x: Tensor) -> bool:
    return bool(torch._C._functorch.is_batchedtensor(x))


@contextmanager
def twins() -> Iterator[None]:
    """Within it, there are two lanes and the second is a copy of the first, whose results nobody wants."""
    _Escape.twins = True
    try:
        yield
    finally:
        _Escape.twins = False


class LaneByLane(TorchFunctionMode):
    """Within it, convolutions and activations under vmap run lane by lane, wherever in the model they are called.

    `innermost`: on feature maps, with the channels innermost in memory, before and after.
    """

    active: LaneByLane | None = None

    def __init__(self, *, innermost: bool) -> None:
        super().__init__()
        self.innermost = innermost

    @classmethod
    def again(cls) -> AbstractContextManager[Any]:
        """For what runs once more in the backward pass: the same as now."""
        return nullcontext() if cls.active is None else cls(innermost=cls.active.innermost)

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
        if func in CONVOLVE and under_vmap(args[0]):
            return self._convolved(func, args, kwargs or {})
        if getattr(func, "__name__", "") in ROUNDED and _is_vmapped_alone(args):
            return leave_vmap(lambda _, value, state: func(value, *args[1:], **(kwargs or {})), args[0], [])
        return func(*args, **(kwargs or {}))

    def _convolved(self, func: Callable[..., Tensor], args: tuple[Any, ...], rest: dict[str, Any]) -> Tensor:
        x, weight, bias, *more = (*args, None) if len(args) == 2 else args
        bias = rest.pop("bias", bias)

        def lane(_: int, value: Tensor, state: Sequence[Tensor]) -> Tensor:
            own, shift = (*state, None)[:2]
            return func(value, own, shift, *more, **rest)

        return leave_vmap(lane, x, [weight] if bias is None else [weight, bias])


def _is_vmapped_alone(args: tuple[Any, ...]) -> bool:
    """Whether the first argument, and no other, is a tensor under vmap."""
    first, *others = args
    alone = not any(isinstance(other, Tensor) for other in others)
    return isinstance(first, Tensor) and under_vmap(first) and alone


def channels_last(x: Tensor) -> Tensor:
    """`[B, C, H, W]` with the channels innermost in memory; the same numbers."""
    if x.shape[1] == 1:  # torch takes such a tensor for both layouts, and later layers would fall back
        return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)
