"""Models and blocks with a user-defined `forward`, on the stacked tensors of K lanes.

`forward` is traced once (torch.fx) with every submodule a leaf; the functions between its layers then run on `[K, B, …]`
(`functional_rules`). A module that cannot be traced (data-dependent control flow) or has side effects (in-place operations, writes to
the module) has no program and is vmapped as a whole. Tensors that `forward` makes of nothing but sizes (`torch.arange(x.size(1))`) are
the same in every lane.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from ablate.kernels.cache import cached
from ablate.kernels.chains import chains_of
from ablate.kernels.functional_rules import FUNCTIONS, apply_stacked
from ablate.kernels.parameter_binding import Binding
from ablate.seams.draws import count_calls
from ablate.surgery.rewrite import UNTRACEABLE, StrictTracer
from ablate.surgery.torch_layers import is_hooked

Call = Callable[..., Tensor]
"""(a submodule, its inputs, stacked) -> its output, stacked."""
RunChain = Callable[[nn.Module, Sequence[fx.Node], Tensor], Tensor]
"""(the module, one of its program's chains, its input, stacked) -> its output, stacked."""
IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.setitem}
"""`x += y` is traced as an addition, which differs where `x` is aliased: `support.trace_matches` detects that."""


@dataclass(frozen=True)
class Program:
    """A traced `forward`. `last`: node -> the values that are not needed after it. `chains`: by its first node, what may run as one."""

    graph: fx.Graph
    last: Mapping[fx.Node, Sequence[fx.Node]]
    chains: Mapping[fx.Node, Sequence[fx.Node]]

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self  # immutable; it refers to submodules by path

    def submodules(self, module: nn.Module) -> list[nn.Module]:
        """What `module` calls."""
        return [module.get_submodule(node.target) for node in self.graph.nodes if node.op == "call_module"]

    def run(
        self, module: nn.Module, call: Call, *inputs: Tensor, run_chain: RunChain | None = None
    ) -> Tensor:
        """`inputs` `[K, B, …]` through `module`, whose tensors are the lanes' stacked ones. Raises TypeError for a wrong number of inputs.

        `run_chain`: runs the program's chains; None: node by node.
        """
        given, values = iter(inputs), dict[fx.Node, Any]()
        chained: set[fx.Node] = set()  # what ran as part of a chain
        for node in self.graph.nodes:
            if node in chained:
                continue
            if run_chain is not None and (chain := self.chains.get(node)):
                values[chain[-1]] = run_chain(module, chain, values[node.args[0]])
                chained.update(chain)
                for one in chain:
                    for done in self.last.get(one, ()):
                        values.pop(done, None)
                continue
            args, kwargs = (
                fx.map_arg(arguments, values.__getitem__) for arguments in (node.args, node.kwargs)
            )
            if node.op == "placeholder":
                value = next(given, *args)  # the default, if there is one
            elif node.op == "get_attr":
                value = operator.attrgetter(node.target)(module)
            elif node.op == "call_module":
                value = call(module.get_submodule(node.target), *args)
            elif node.op == "output":
                value = args[0]
                break
            else:
                value = apply_stacked(node.target, args, kwargs, len(inputs[0]))
            values[node] = value
            for done in self.last.get(node, ()):
                values.pop(done, None)
        if next(given, None) is not None:
            raise TypeError(f"{type(module).__name__} was given {len(inputs)} inputs")
        result: Tensor = value
        return result


def program_of(module: nn.Module) -> Program | None:
    """The program of a module in its present mode (training or evaluation), traced once per mode; None if it cannot be traced."""
    programs = cached(module, "programs", _no_programs)
    if module.training not in programs:
        programs[module.training] = _trace(module)
    return programs[module.training]


def _no_programs(module: nn.Module) -> dict[bool, Program | None]:
    return {}


def never_trace(module: nn.Module) -> None:
    """Disable traced programs within `module`."""
    for layer in module.modules():
        layer.__dict__["_ablate_programs"] = {True: None, False: None}


class _Constant:
    """A tensor that `forward` makes of nothing but numbers, as a function in a graph."""

    __name__ = "constant"

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __call__(self) -> Tensor:
        return self.tensor


class _Tracer(StrictTracer):
    """Buffers are values of the graph, as parameters are: what is worked out from them differs between lanes."""

    proxy_buffer_attributes = True

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and not self._is_held(a):
            return self.create_node("call_function", _Constant(a), (), {})
        return super().create_arg(a)

    def _is_held(self, tensor: Tensor) -> bool:
        """Whether a layer holds the tensor, as parameter, buffer or plain attribute."""
        layers = list(self.root.modules())
        tensors = (value for layer in layers for value in vars(layer).values())
        return any(tensor is own for own in (*self.root.parameters(), *self.root.buffers(), *tensors))


def _trace(module: nn.Module) -> Program | None:
    if type(module).__module__.startswith("torch.") or is_hooked(module):
        return None
    before = dict(vars(module))
    binding = Binding(module)  # not cached: surgery may still change the module
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    copies = {name: _copy(tensor, name in parameters) for name, tensor in binding.tensors().items()}
    versions = [copy._version for copy in copies.values()]
    graph: fx.Graph | None
    calls = count_calls(None)  # a trace is not a forward pass: its draws do not count
    try:
        with binding.bound(copies):  # in-place writes of `forward` are executed while tracing
            graph = _Tracer().trace(module)
            if _assigned(module, copies):
                graph = None
    except UNTRACEABLE:
        graph = None
    finally:
        count_calls(calls)
    if [copy._version for copy in copies.values()] != versions:
        graph = None
    after = vars(module)
    changed = [name for name in {*before, *after} if before.get(name, before) is not after.get(name, before)]
    for name in changed:  # tracing changed the module, as every call would: undone
        after.pop(name, None)
        if name in before:
            after[name] = before[name]
    if graph is None or changed or not all(_is_plain(node, module) for node in graph.nodes):
        return None
    order = {node: number for number, node in enumerate(graph.nodes)}
    last: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.users:
            last.setdefault(max(node.users, key=order.__getitem__), []).append(node)
    return Program(graph, last, chains_of(graph))


def _assigned(module: nn.Module, copies: Mapping[str, Tensor]) -> bool:
    """Whether `forward` gave a name that holds a tensor another value: a program has no such side effects."""
    for name, copy in copies.items():
        owner, _, own = name.rpartition(".")
        if getattr(module.get_submodule(owner), own) is not copy:
            return True
    return False


def _copy(tensor: Tensor, is_parameter: bool) -> Tensor:
    """fx knows a parameter by its type, which the lanes' stacked ones do not have."""
    copy = tensor.detach().clone()
    return nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy


def _is_plain(node: fx.Node, module: nn.Module) -> bool:
    """Whether a program can run this node: it returns a result and has no side effects."""
    if node.op == "get_attr":
        owner, _, name = node.target.rpartition(".")  # type: ignore[union-attr]
        layer = module.get_submodule(owner)
        return name in layer._parameters or name in layer._buffers
    if node.op == "call_module":
        return not node.kwargs and all(isinstance(arg, fx.Node) for arg in node.args)
    if node.op == "output":
        return isinstance(node.args[0], fx.Node)
    if node.op == "placeholder":
        return not str(node.target).startswith("*")
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "_")
    if node.kwargs.get("inplace"):
        # On a layer's output without other users, it equals the out-of-place operation.
        first = node.args[0]
        known = node.target in FUNCTIONS
        return known and isinstance(first, fx.Node) and first.op == "call_module" and len(first.users) == 1
    in_place = node.target in IN_PLACE or (name.endswith("_") and not name.startswith("__"))
    return not in_place and "out" not in node.kwargs
