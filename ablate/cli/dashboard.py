"""`ablate dashboard`: the search in optuna-dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import Json, Studies
from ablate.cli.output import print_json


def dashboard(
    given: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="The study's name, or its ledger.")
    ] = "digits",
    studies: Studies = Path("studies"),
    host: Annotated[str, typer.Option(help="Address that is listened on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that is listened on.", min=1, max=65535)] = 8080,
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve it, or write the storage only.")
    ] = True,
    json: Json = False,
) -> None:
    """Copy the trials of a search into an Optuna storage, NAME.optuna.sqlite next to the ledger, and serve optuna-dashboard.

    The ledger is not changed. While the dashboard is served, the storage follows a running search. With --json it serves nothing.
    Examples: ablate dashboard digits · ablate dashboard digits --port 9000 · ablate dashboard digits --no-serve
    """
    from ablate.api.dashboard import dashboard_module, mirrored
    from ablate.api.dashboard import serve as serving
    from ablate.records.names import check_name

    ledger = Path(given) if given.endswith(".db") else studies / f"{check_name(given)}.db"
    if serve and not json:
        dashboard_module()
    path = ledger.with_name(f"{ledger.stem}.optuna.sqlite")
    done = mirrored(ledger, path)
    if json:
        print_json({"study": done.study, "storage": done.storage, "trials": done.trials})
        return
    typer.echo(f"{done.trials} trials in {done.storage}")
    if serve:
        typer.echo(f"http://{host}:{port}/ (Ctrl-C ends it)", err=True)
        serving(ledger, path, host, port)
