"""ablate: which training tricks earn their place? The public API, imported lazily."""

from __future__ import annotations

__version__ = "0.1.0"
