"""A torch function mode that also sees when each layer of a model is called and when it returns."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle


class LayerCallMode(TorchFunctionMode):
    """Context in which every call of a layer of `module` (itself included) is reported to `on_call` and `on_return`.

    `on_return` is also called where the layer raises, so calls nest properly. `running`: the layers that have been called and have not returned,
    the innermost last. The hooks are removed on exit.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self.running: list[nn.Module] = []
        self._handles: list[RemovableHandle] = []

    def on_call(self, path: str, layer: nn.Module) -> None:
        """`layer`, at `path` in the model, is about to run."""

    def on_return(self) -> None:
        """The layer that was called last and has not returned yet has returned or raised."""

    def __enter__(self) -> Self:
        for path, layer in self._module.named_modules():
            self._handles.append(layer.register_forward_pre_hook(partial(self._before, path)))
            self._handles.append(layer.register_forward_hook(self._after, always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def _before(self, path: str, layer: nn.Module, inputs: Any) -> None:
        self.running.append(layer)
        self.on_call(path, layer)

    def _after(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        self.on_return()
        self.running.pop()
