"""How a job reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], None]
"""Called with the number of lane-epochs trained since the last call, in the driver process, from any thread."""
