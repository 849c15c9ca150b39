"""The environment that results depend on besides the recipe: versions, hardware, device."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ablate import __version__
from ablate.records.errors import InputError

LIBRARIES = ("torch", "optuna", "numpy", "pandas", "scikit-learn", "scipy", "seaborn", "typer")
EXTRAS = ("llvmlite",)


def device_of(name: str) -> torch.device:
    """The device called `name`: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. Raises InputError if it is unavailable."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"'{name}' is not a device", hint="use auto, cpu, cuda, cuda:0 or mps") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        have = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise InputError(f"there is no device '{name}' here", hint=f"this machine has: {', '.join(have)}")
    return device


def cpu_name() -> str:
    """The processor's name, as far as the system reports it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, JSON-ready."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "ablate": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        **{name: version(name) if find_spec(name) else "" for name in EXTRAS},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "gpu": gpu,
        "device": str(device),
    }
