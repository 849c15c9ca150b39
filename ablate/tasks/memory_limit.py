"""How much data a task may hold in memory. Each worker process holds its own copy."""

from __future__ import annotations

import os

from ablate.records.errors import InputError

GIB = 2**30
SHARE = 4
"""The driver and its workers each hold the data, and training needs memory too."""

HELD = GIB
"""The same on every machine, since streamed examples have another order."""
WINDOW = 2**28
"""Bytes of the examples that are streamed at a time; lanes shuffle within them."""


def most_bytes() -> int:
    """A quarter of the machine's memory; 2 GiB if unknown."""
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(getattr(os, "sysconf_names", ())):
        return 2 * GIB
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // SHARE


def memory_bytes() -> int:
    """Bytes of the inputs of a Dataset's split up to which they are kept in memory; larger ones are streamed."""
    return min(HELD, most_bytes())


def check_bytes(needed: int, what: str, hint: str = "") -> None:
    """Raise InputError if `needed` bytes exceed the limit. `what`: "train x: 20000 examples of shape [3, 224, 224]"."""
    if needed > (most := most_bytes()):
        raise InputError(
            f"{what} would take {needed / GIB:.3g} GiB in memory, where {most / GIB:.3g} GiB may be taken",
            hint=hint or "give fewer or smaller examples (resize them, or take a subset)",
        )
