"""A module that replaces one of the user's layers and keeps it as a submodule."""

from __future__ import annotations

from typing import Any

from torch import nn


class LayerProxy(nn.Module):
    """A replacement for a layer of the user's, which becomes its submodule `inner`.

    Attributes that it lacks are looked up in the inner module, so that a model which reads its layer
    (`self.fc.weight`) still works.
    """

    inner: str

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith(
                "__"
            ):  # special methods are not delegated: copying, for example, is this module's own
                raise
            return getattr(super().__getattr__(self.inner), name)
