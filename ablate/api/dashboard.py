"""A study in optuna-dashboard: its trials are copied into an Optuna storage, repeatedly while it is served."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError, InputError
from ablate.search.mirror import mirror

EVERY = 10.0
"""Seconds between two reads of the ledger."""


@dataclass(frozen=True)
class Mirrored:
    """`storage`: the URL of Optuna's storage; `trials`: how many it holds."""

    study: str
    path: Path
    trials: int

    @property
    def storage(self) -> str:
        """The URL of Optuna's storage."""
        return f"sqlite:///{self.path}"


def mirrored(ledger: Path, path: Path) -> Mirrored:
    """Copy the trials of `ledger` that the storage at `path` lacks. Raises InputError where the ledger has no search."""
    with Ledger.open(ledger, write=False) as opened:
        study, search = opened.fact("study") or {}, opened.fact("search") or {}
        entries = opened.entries("search", scores=False)
    if not search.get("space"):
        raise InputError(f"{ledger} has no search", hint=f"run: ablate study {ledger.stem} --stages search")
    trials = [(entry.trial, entry.identity, entry.run.recipe, entry.result) for entry in entries]
    trials.sort(key=lambda trial: trial[0])
    number = mirror(
        path, ledger.stem, trials, search["space"], metric=str(study["metric"]), higher=study.get("direction") == "higher"
    )  # fmt: skip
    return Mirrored(ledger.stem, path, number)


def dashboard_module() -> Any:
    """The package optuna_dashboard. Raises InputError that names the extra to install."""
    try:
        return importlib.import_module("optuna_dashboard")
    except ImportError as error:
        raise InputError(
            "the dashboard needs the package optuna-dashboard", hint="pip install 'ablate[dashboard]'"
        ) from error


def serve(ledger: Path, path: Path, host: str, port: int) -> None:
    """Serve the storage until Ctrl-C; meanwhile it follows the ledger. Raises AblateError where the port is taken."""
    over = Event()

    def follow() -> None:
        while not over.wait(EVERY):
            mirrored(ledger, path)

    module = dashboard_module()
    Thread(target=follow, daemon=True).start()
    try:
        module.run_server(f"sqlite:///{path}", host=host, port=port)
    except OSError as error:
        raise AblateError(
            f"{host}:{port} cannot be used ({error.strerror})", hint="name another with --port"
        ) from error
    finally:
        over.set()
