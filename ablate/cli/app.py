"""The command line: `ablate`. One file per command; this one registers them and turns errors into one line."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from tempfile import NamedTemporaryFile
from types import FrameType
from typing import Annotated, Any

import typer

from ablate import __version__
from ablate.cli import (
    claims,
    compare,
    confirm,
    dashboard,
    doctor,
    export,
    init,
    inspect,
    lr_find,
    new,
    plan,
    rank,
    report,
    study,
    tasks,
    train,
    tricks,
)
from ablate.cli.output import only_the_answer
from ablate.records.errors import AblateError

UsageError: Any = typer.BadParameter.__base__
"""Typer's exception for wrong arguments; its module differs between versions of Typer."""
HELP = """Which training tricks earn their place?

    ablate study                     the main job, on scikit-learn's digits
    ablate study my_task.py:task     the same for your own model and data
    ablate lr-find my_task.py:task   a sound learning rate, in six steps
    ablate tricks                    what can be switched on

Run a command again to resume it.
"""
app = typer.Typer(
    help=HELP, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip

COMMANDS: dict[str, Callable[..., None]] = {
    "study": study.study,
    "lr-find": lr_find.lr_find,
    "rank": rank.rank,
    "confirm": confirm.confirm,
    "compare": compare.compare,
    "claims": claims.claims,
    "plan": plan.plan,
    "train": train.train,
    "tricks": tricks.tricks,
    "init": init.init,
    "new": new.new,
    "tasks": tasks.tasks,
    "inspect": inspect.inspect,
    "report": report.report,
    "export": export.export,
    "dashboard": dashboard.dashboard,
    "doctor": doctor.doctor,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


INTERRUPTED = 130


class Terminated(BaseException):
    """SIGTERM or SIGUSR1 was received."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ablate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks instead of one line.")] = False,
) -> None:
    del version, debug


def unexpected(error: Exception) -> str:
    """One line about an exception that is not an AblateError: whose code raised it, and the file with its traceback."""
    from ablate.executors.job_error import JobError

    job_error = JobError.of(error)
    with NamedTemporaryFile("w", prefix="ablate-", suffix=".traceback.txt", delete=False) as file:
        file.write(job_error.trace)
    whose = (
        "stopped by an error in ablate itself: please report it"
        if job_error.is_internal
        else "stopped by an error in your code"
    )
    return f"{whose}: {job_error}; traceback: {file.name}, or use --debug"


def main() -> None:
    """Run a command; exit codes: 0 done, 1 failed, 2 bad input, 130 Ctrl-C, 143 terminated."""
    debug = "--debug" in sys.argv[1:]
    # At exit the garbage collector would scan all imported objects: 0.7 s for torch and pandas.
    atexit.register(gc.freeze)
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, _terminate)
    try:
        with only_the_answer() if "--json" in sys.argv else nullcontext():
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
        if code == INTERRUPTED:  # how Typer reports Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code)
    except UsageError as error:
        message = " ".join(error.format_message().split()).removesuffix(".")
        if close := getattr(error, "possibilities", None):
            message = f"{message.partition(' (')[0]}; did you mean '{close[0]}'?"
        where = f"ablate {error.ctx.info_name}" if error.ctx and error.ctx.parent else "ablate"
        typer.echo(f"ablate: {message}; see: {where} --help", err=True)
        sys.exit(error.exit_code)
    except AblateError as error:
        if debug:
            raise
        typer.echo(f"ablate: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if not debug:
            typer.echo(f"ablate: {unexpected(error)}", err=True)
            sys.exit(1)
        raise
    except KeyboardInterrupt:
        typer.echo(
            "ablate: interrupted; what is finished is kept: run the same command to continue", err=True
        )
        sys.exit(INTERRUPTED)
    except Terminated:
        typer.echo("ablate: terminated; what is finished is kept: run the same command to continue", err=True)
        sys.exit(143)


if __name__ == "__main__":
    main()
