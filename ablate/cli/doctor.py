"""`ablate doctor`: what is available on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from ablate.cli.options import Device, Json, Out, Studies
from ablate.cli.output import print_json


def doctor(
    device: Device = "auto",
    studies: Studies = Path("studies"),
    out: Out = Path("reports"),
    json: Json = False,
) -> None:
    """Device, versions, memory, writable folders, data found. Exit code 1 if something is missing.

    Example: ablate doctor --json
    """
    import torch

    from ablate.catalogue.registry import registry
    from ablate.records.errors import InputError
    from ablate.study.environment import device_of, environment
    from ablate.study.kernel import why_not_compiled
    from ablate.study.preflight import check_folder

    facts: dict[str, Any] = environment(device_of(device))
    facts["compiled code"] = why_not_compiled() or "yes"
    facts["threads"] = torch.get_num_threads()
    facts["memory_gib"] = memory()
    facts["tricks"] = len(registry())
    problems = []
    for name, folder, option in (("studies", studies, "--studies"), ("reports", out, "--out")):
        try:
            check_folder(folder, option)
            facts[name] = f"{folder} (writable)"
        except InputError as error:
            facts[name] = f"{folder} (NOT writable)"
            problems.append(str(error))
    facts["cache"] = cache()
    data = os.environ.get("ABLATE_DATA", "")
    facts["ABLATE_DATA"] = data or "not set (only some tasks need it)"
    if data and not Path(data).is_dir():
        problems.append(f"ABLATE_DATA names {data}, which is not a folder")
    facts["problems"] = problems
    if json:
        print_json(facts)
    else:
        for key, value in facts.items():
            if key != "problems" and value != "":
                typer.echo(f"{key}: {value}")
        for problem in problems:
            typer.echo(f"problem: {problem}")
        if not problems:
            typer.echo("all is well")
    if problems:
        raise typer.Exit(1)


def cache() -> str:
    """The folder where compiled code and measurements are cached. Optional: without it they are made again."""
    from ablate.records.errors import InputError
    from ablate.records.files import cache_folder
    from ablate.study.preflight import check_folder

    folder = cache_folder()
    try:
        check_folder(folder, "ABLATE_CACHE")
    except InputError:
        return f"{folder} (NOT writable: every study makes its code and measurements again)"
    return f"{folder} (writable)"


def memory() -> float | None:
    """Physical memory in GiB, if the system reports it."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
