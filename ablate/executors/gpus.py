"""The GPUs of this machine: one worker process each, which sees no other."""

from __future__ import annotations

import os

import torch

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES must be for each GPU that this process may use: an index, or a UUID if the variable has them."""
    count = torch.cuda.device_count()
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    return tuple(given[:count]) if given else tuple(map(str, range(count)))


def gpus_for(device: torch.device) -> tuple[str, ...]:
    """The GPUs that a study on `device` trains on: all for `cuda`, if there are several; none to choose for `cuda:1` or a CPU."""
    if device.type != "cuda" or device.index is not None:
        return ()
    gpus = visible_gpus()
    return gpus if len(gpus) > 1 else ()
