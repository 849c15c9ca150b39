"""Options that several commands share.

A group of options is a frozen dataclass. A command has it as one parameter, and `grouped` exposes its fields to Typer:

    @grouped
    def lr_find(given: Given = "digits", *, study: StudyOptions) -> None: ...
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ablate.cli.table_target import Target, with_target
from ablate.records.errors import InputError

if TYPE_CHECKING:
    from ablate.api.settings import Overrides
    from ablate.study.request import Options


def on_this_machine(path: Path | None) -> Path | None:
    """The callback of options that name a place to write to. Raises InputError for an address, which would become folders with its password."""
    if path is not None and re.match(r"[A-Za-z][A-Za-z0-9+.:-]+:/|[^/@]*:[^@]*@", str(path)):
        raise InputError(
            f"{path} is an address, and files are written to this machine alone", hint="give a folder"
        )
    return path


Given = Annotated[
    str, typer.Argument(metavar="[STUDY]", help="A study file, its name, a task, or file.py:name.")
]
Margin = Annotated[float | None, typer.Option(help="Smallest effect that matters, in the metric's units.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Lanes = Annotated[
    int, typer.Option(help="Maximum number of runs that train together (0: chosen by the kernel).", min=0)
]
Workers = Annotated[int, typer.Option(help="Worker processes on a CPU (0 = one per core).", min=0)]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        help="auto, inline, processes, dask, ray (with an address: dask:tcp://host:8786, ray:auto) or module:factory.",
    ),
]
Kernel = Annotated[
    str,
    typer.Option(
        help="auto (measured once per machine and model), compiled (lanes as machine code), batched (layer by layer), vmap (as one call), loop (one by one)."
    ),
]
Memory = Annotated[
    float, typer.Option(help="GiB that training may use in total (0: most of the free memory).", min=0)
]
Profile = Annotated[bool, typer.Option("--profile", help="Show at the end how the time was spent.")]
Studies = Annotated[Path, typer.Option(help="Folder of study files and ledgers.", callback=on_this_machine)]
NewFiles = Annotated[Path, typer.Option("--out", help="Folder of the new files.", callback=on_this_machine)]
Out = Annotated[Path, typer.Option("--out", help="Folder of reports.", callback=on_this_machine)]
Name = Annotated[
    str, typer.Option(help="Name of the ledger and the report (default: the study's or the task's).")
]
Epochs = Annotated[int | None, typer.Option(help="Budget of a run.", min=1, max=1_000_000)]
Trials = Annotated[int | None, typer.Option(help="Trials of the search.", min=1, max=1_000_000)]
Seed = Annotated[int | None, typer.Option(help="The study's seed (0 to 2147483647).", min=0, max=2**31 - 1)]

DESIGN_HELP = (
    "tuned (default): every trick on the baseline and in the recipe, each at its own best rate; "
    "screening: average effects of many tricks from an array; factorial: every combination of up to 4 tricks; "
    "drop-one: the recipe without each trick; add-one: the baseline with each trick."
)
DesignName = Annotated[str, typer.Option("--design", help=DESIGN_HELP)]
Around = Annotated[str, typer.Option(help="Rank around best, baseline, or a recipe file.")]


Tricks = Annotated[
    list[str] | None,
    typer.Option(
        "--tricks",
        help="A trick of your own: a file, a folder of them, or torch.optim.NAME; may be repeated.",
    ),
]


Optimizer = Annotated[
    str,
    typer.Option(
        help="The baseline's optimizer, at the rate that lr-find finds: adamw, or torch.optim.NAME (default: the study's, else momentum)."
    ),
]
Metric = Annotated[
    str, typer.Option(help="The metric to decide by: auroc, or validation/auroc (default: the study's).")
]
Include = Annotated[
    str,
    typer.Option(help="Only these tricks: names, seams, slots or globs, by commas (default: the study's)."),
]
Exclude = Annotated[str, typer.Option(help="Without these tricks, by commas.")]


@dataclass(frozen=True)
class ArrayOptions:
    """What an array design runs."""

    waves: Annotated[
        int | None, typer.Option(help="Maximum number of waves of an array design.", min=1, max=3)
    ] = None
    retune: Annotated[
        int | None,
        typer.Option(
            help="Array designs: learning rates tried for each arm of a trick that shifts the best one; 0: none."
        ),
    ] = None


@dataclass(frozen=True)
class SpaceOptions:
    """Which tricks a study decides."""

    include: Include = ""
    exclude: Exclude = ""


@dataclass(frozen=True)
class ChoiceOptions(SpaceOptions):
    """What a study decides, and by which metric."""

    metric: Metric = ""


@dataclass(frozen=True)
class StudyOptions:
    """The study, and changes of its file."""

    seed: Seed = None
    epochs: Epochs = None
    studies: Studies = Path("studies")
    name: Name = ""
    target: Target = ""
    tricks: Tricks = None
    optimizer: Optimizer = ""

    def of(self, given: str) -> str:
        """The study `given`, with the column to predict if it is a table."""
        return with_target(given, self.target)

    @property
    def own_tricks(self) -> tuple[str, ...]:
        """The user's own tricks, among them an optimizer that is named as a class."""
        return (*(self.tricks or ()), *([self.optimizer] if "." in self.optimizer else []))

    def edits(self, trials: int | None = None, choice: SpaceOptions | None = None) -> Overrides:
        """The changes of the study file that the options ask for."""
        from ablate.api.settings import Overrides
        from ablate.records.study import measured_on_validation

        choice = choice or SpaceOptions()
        metric = measured_on_validation(choice.metric) if isinstance(choice, ChoiceOptions) else ""
        include, exclude = listed(choice.include), listed(choice.exclude)
        return Overrides(trials, self.seed, self.epochs, metric or None, include, exclude, self.optimizer)


def listed(text: str) -> tuple[str, ...]:
    """The parts of a list by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class MachineOptions:
    """Where and how runs are trained; none of it changes a result."""

    device: Device = "auto"
    lanes: Lanes = 0
    workers: Workers = 0
    executor: ExecutorName = "auto"
    kernel: Kernel = "auto"
    memory: Memory = 0.0


@dataclass(frozen=True)
class OutputOptions:
    """What a command writes and prints."""

    profile: Profile = False
    out: Out = Path("reports")
    quiet: Quiet = False
    json: Json = False

    @property
    def silent(self) -> bool:
        """Whether no progress is shown."""
        return self.quiet or self.json


def options_of(study: StudyOptions, machine: MachineOptions, output: OutputOptions | None = None) -> Options:
    """The options for the stages (imports torch)."""
    from ablate.study.request import Options

    output = output or OutputOptions()
    return Options(
        studies=study.studies, reports=output.out, profile=output.profile, name=study.name,
        tricks=study.own_tricks,
        **{field.name: getattr(machine, field.name) for field in fields(machine)},
    )  # fmt: skip


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with each parameter that is a dataclass replaced by the dataclass's fields, for Typer."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for parameter in signature(command).parameters.values():
        if parameter.name in groups:
            parameters += _options(groups[parameter.name])
        else:
            parameters.append(
                parameter.replace(annotation=hints[parameter.name], kind=Parameter.KEYWORD_ONLY)
            )

    @wraps(command)
    def flat(**values: Any) -> None:
        built = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**values, **built)

    flat.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def _options(group: Any) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(group)
    ]


def check_margin(margin: float | None) -> None:
    """Raise InputError for a margin that is not positive."""
    if margin is not None and not margin > 0:
        from ablate.records.errors import InputError

        raise InputError(f"--margin must be above zero, not {margin}", hint="leave it out for 'auto'")


MAIN = "ablate.cli.app"
"""Imported at the top of the main module, which a worker imports before anything else."""


def preload_workers(given: str, studies: Path, machine: MachineOptions) -> None:
    """Start the workers' imports while this process does its own, if there will be workers."""
    if (
        machine.executor in ("auto", "processes")
        and machine.device in ("auto", "cpu")
        and machine.workers != 1
    ):
        from ablate.executors.processes import preload
        from ablate.tasks.imports import imports

        preload([MAIN, *imports(given, studies)])
