"""Modules on the stacked tensors of K lanes: `[K, B, …]` in, `[K, B, …]` out.

A module, whose parameters and buffers have been replaced by the lanes' stacked ones, runs by the lowering rule of its type (`registry`,
`rules/`); without a rule, by its traced `forward` (`tracing`); else vmapped. A lane's bits do not depend on the other lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from torch import Tensor, fx, nn

from ablate.kernels.compiled import op_cache
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.fused import LayerOps
from ablate.kernels.registry import COMPILED, stacked_rule
from ablate.kernels.tracing import program_of
from ablate.kernels.vmapped import vmapped
from ablate.surgery.functional_activations import layer_of
from ablate.surgery.torch_layers import is_hooked


def stacked(module: nn.Module, *inputs: Tensor) -> Tensor:
    """`inputs` through `module`, whose tensors have the lanes as first dimension."""
    if (cache := op_cache()) is not None and len(inputs) == 1:
        if module not in cache:
            cache[module] = LayerOps(layer_ops_of(module))
        y: Tensor = cache[module](inputs[0])
        return y
    return run_eager(module, *inputs)


def layer_ops_of(module: nn.Module) -> list[LayerOp]:
    """`module` as a sequence of layers, of which compiled code may run some."""
    if type(module) is nn.Sequential and not is_hooked(module):
        return [op for child in module for op in layer_ops_of(child)]
    eager = partial(run_eager, module)
    rule = None if is_hooked(module) else COMPILED.get(type(module))
    return [LayerOp(eager)] if rule is None else rule(module, eager)


def run_eager(module: nn.Module, *inputs: Tensor) -> Tensor:
    """`stacked` without compiled code, but for the layers within `module`."""
    rule = stacked_rule(module)
    if rule is not None:
        return rule.run(module, *inputs) if rule.fits(module, *inputs) else vmapped(module, *inputs)
    if program := program_of(module):
        run_chain = None if op_cache() is None else _compiled_chain
        return program.run(module, stacked, *inputs, run_chain=run_chain)
    return vmapped(module, *inputs)


def _compiled_chain(module: nn.Module, chain: Sequence[fx.Node], x: Tensor) -> Tensor:
    """A chain of `module`'s program."""
    layers = (layer_of(node) or module.get_submodule(str(node.target)) for node in chain)
    return run_in_turn((module, chain[0]), layers, x)


def run_in_turn(key: object, layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """`x` through layers one after another; compiled code runs them as neighbours. `key`: what tells these layers from others."""
    cache = op_cache()
    if cache is None:
        for layer in layers:
            x = stacked(layer, x)
        return x
    if key not in cache:
        cache[key] = LayerOps([op for layer in layers for op in layer_ops_of(layer)])
    y: Tensor = cache[key](x)
    return y


def is_covered(module: nn.Module, *, traced: bool = True) -> bool:
    """Whether nothing in `module` has to be vmapped; without `traced`, whether rules alone suffice."""
    if type(module) is nn.Sequential:
        return all(is_covered(child, traced=traced) for child in module)
    if stacked_rule(module) is not None:
        return True
    program = program_of(module) if traced else None
    return program is not None and all(map(is_covered, program.submodules(module)))
