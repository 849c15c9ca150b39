"""Leave vmap at one place in a model: there, lanes run one after another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class _Escape(torch.autograd.Function):
    """Leaves vmap at one place: its vmap rule is handed the stacked tensors and runs lane by lane.

    The operations inside the rule are ordinary ones, recorded by autograd as usual.
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(call: Callable[..., Tensor], names: tuple[str, ...], *tensors: Tensor) -> Tensor:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: object) -> None:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def vmap(info, in_dims, call, names, *tensors):  # type: ignore[no-untyped-def]
        lanes = [
            (tensor,) * info.batch_size if dim is None else tensor.unbind(dim)
            for tensor, dim in zip(tensors, in_dims[2:], strict=True)
        ]
        outputs = [call(dict(zip(names, state, strict=True)), x) for x, *state in zip(*lanes, strict=True)]
        return torch.stack(outputs), 0


def escape(module: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`call(x)`, lane by lane where `x` or the module's state is stacked by vmap; else just `call(x)`.

    `call` must be a method of `module` that uses no other tensors than `x` and the module's own.
    """
    if not torch._C._functorch.is_batchedtensor(x):
        return call(x)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def lane(own: dict[str, Tensor], value: Tensor) -> Tensor:
        with _swapped(module, own):
            return call(value)

    together: Tensor = _Escape.apply(lane, tuple(state), x, *state.values())  # type: ignore[no-untyped-call]
    return together


class _swapped:
    """Within it, `module`'s parameters and buffers are the given tensors."""

    def __init__(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        self.accessor = torch.nn.utils._named_member_accessor.NamedMemberAccessor(module)
        self.tensors = tensors

    def __enter__(self) -> None:
        self.before, _ = self.accessor.swap_tensors_dict(self.tensors, allow_missing=True)

    def __exit__(self, *error: object) -> None:
        self.accessor.swap_tensors_dict(self.before, allow_missing=True)
