"""torch's own layers that run lane by lane, each by its `forward`; norms by compiled code where it takes them."""

from __future__ import annotations

from torch import Tensor, nn

from ablate.kernels.compiled_norms import PARAMETERS, RUNNING, NormOp
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import Uniform
from ablate.kernels.memory_format import match_grad_layout, stack_lanes
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.registry import Eager, register_compiled, register_stacked
from ablate.kernels.torch_norms import BATCH_NORMS, TORCH_NORMS, count_batch, torch_norm


@register_stacked(
    *TORCH_NORMS, nn.BatchNorm3d, nn.RMSNorm, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Softmax, nn.LogSoftmax,
)  # fmt: skip
def by_lane(layer: nn.Module, x: Tensor) -> Tensor:
    """Stacked rule of layers that torch runs lane by lane."""
    binding = binding_of(layer)
    held = binding.tensors()
    outputs = []
    for lane, value in enumerate(match_grad_layout(x).unbind(0)):
        with binding.bound({name: tensor[lane] for name, tensor in held.items()}):
            outputs.append(layer(value))
    return stack_lanes(outputs, x)


@register_compiled(*TORCH_NORMS)
def compiled_norm(layer: nn.Module, eager: Eager) -> list[LayerOp]:
    """Compiled rule of torch's own norm layers."""
    norm = torch_norm(layer)
    if norm is None:
        return [LayerOp(eager)]
    running = RUNNING if type(layer) in BATCH_NORMS else ()
    indices = {name: number for names in (PARAMETERS, running) for number, name in enumerate(names)}
    op = NormOp(Uniform(norm), Uniform(indices), len(PARAMETERS), len(running))

    def buffers() -> list[Tensor]:
        if running and layer.training:
            count_batch(layer, 1)
        return [getattr(layer, name) for name in running]

    return [LayerOp(eager, op, lambda: [getattr(layer, name) for name in PARAMETERS], buffers)]
