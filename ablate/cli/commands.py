"""The commands of `ablate`, one file each; this one registers them and turns errors into one line."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from tempfile import NamedTemporaryFile
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
from ablate.cli.signals import INTERRUPTED, KEPT
from ablate.records.errors import AblateError
from ablate.records.secrets import without_secrets_of

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


def unexpected(error: BaseException, words: Sequence[str]) -> str:
    """One line about an exception that is not an AblateError: whose code raised it, and the file with its
    traceback, versions and study file, to attach to a report."""
    from ablate.executors.job_error import JobError
    from ablate.records.bug_report import bug_report

    job_error = JobError.of(error)
    written = _written(bug_report(job_error.trace, words))
    file = "with the file named here" if written else "with the traceback that --debug prints"
    whose = (
        f"stopped by an error in ablate itself: please report it {file}"
        if job_error.is_internal
        else "stopped by an error in your code"
    )
    where = (
        f"traceback: {written}, or use --debug"
        if written
        else "no folder for temporary files can be written: use --debug"
    )
    return f"{whose}: {job_error}; {where}"


def _written(text: str) -> str:
    """The path of a new temporary file with `text`, for this user alone; "" where none can be written."""
    path = ""
    try:
        with NamedTemporaryFile(
            "w", prefix="ablate-", suffix=".traceback.txt", delete=False, encoding="utf-8", errors="backslashreplace",
        ) as file:  # fmt: skip
            path = file.name
            file.write(text)
    except OSError:
        with suppress(OSError):
            if path:
                os.unlink(path)
        return ""
    return path


def _print_traceback(error: BaseException, words: Sequence[str]) -> None:
    """The traceback on standard error, without passwords."""
    typer.echo(without_secrets_of("".join(traceback.format_exception(error)), words), err=True, nl=False)


def _is_own(error: BaseException) -> bool:
    """Whether the exception comes from ablate or a library, not from the user's code."""
    from ablate.executors.job_error import error_location

    return error_location(error)[1]


def run(words: Sequence[str]) -> tuple[int, str]:
    """Run a command. Returns its exit code (0 done, 1 failed, 2 bad input) and a line for standard error without secrets, "" for none.

    With --debug, the traceback is printed instead of the line.
    """
    code, line = _run(words)
    return code, without_secrets_of(line, words)


def _run(words: Sequence[str]) -> tuple[int, str]:
    debug = "--debug" in words
    try:
        with only_the_answer() if "--json" in words else nullcontext():
            code = app(list(words) or ["--help"], standalone_mode=False) or 0
        # Typer's answer to a KeyboardInterrupt that no signal raised
        return code, f"interrupted; {KEPT}" if code == INTERRUPTED else ""
    except UsageError as error:
        message = " ".join(error.format_message().split()).removesuffix(".")
        if close := getattr(error, "possibilities", None):
            message = f"{message.partition(' (')[0]}; did you mean '{close[0]}'?"
        where = f"ablate {error.ctx.info_name}" if error.ctx and error.ctx.parent else "ablate"
        return error.exit_code, f"{message}; see: {where} --help"
    except AblateError as error:
        if debug:
            _print_traceback(error, words)
        return error.exit_code, "" if debug else str(error)
    except (
        Exception,
        SystemExit,
    ) as error:  # a model that calls sys.exit must not end the command in silence
        if isinstance(error, SystemExit) and _is_own(error):
            raise  # Typer's, of a shell's completion
        if debug:
            _print_traceback(error, words)
        return 1, "" if debug else unexpected(error, words)
