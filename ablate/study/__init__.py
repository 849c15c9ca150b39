"""The stages of a study, its session, and the checks before it.

`ablate.study` is also a function of the public API, which a submodule of that name replaces as soon as anything
imports it. So the module itself can be called: `ablate.study(...)` is `ablate.api.functions.study(...)`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module("ablate.api.functions").study(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
