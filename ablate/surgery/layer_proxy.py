"""What stands in the place of one of the user's layers."""

from __future__ import annotations

from typing import Any

from torch import nn


class LayerProxy(nn.Module):
    """A module in the place of one of the user's, which is its submodule `inner`.

    Attributes that it does not have are the inner module's, so that a model which looks at its layer
    (`self.fc.weight`) still finds it.
    """

    inner: str

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):  # how Python treats this module, copies it for one, is its own
                raise
            return getattr(super().__getattr__(self.inner), name)
