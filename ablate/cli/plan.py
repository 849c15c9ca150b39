"""`ablate plan`: what a study would run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablate.cli.options import (
    Around,
    ChoiceOptions,
    DesignName,
    Given,
    Json,
    MachineOptions,
    StudyOptions,
    Trials,
    grouped,
    options_of,
)
from ablate.cli.output import print_json

if TYPE_CHECKING:
    from ablate.records.study import StudyFile


@grouped
def plan(
    given: Given = "digits",
    trials: Trials = None,
    design: DesignName = "",
    budget: Annotated[
        str,
        typer.Option(
            help='Of the study ("10m", "90s", "2h") or of the rank stage ("2000runs"); default: chosen.'
        ),
    ] = "",
    around: Around = "",
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Also the kernels' timings, the layers of each trick, and what does not apply.",
        ),
    ] = False,
    *,
    study: StudyOptions,
    choice: ChoiceOptions,
    machine: MachineOptions,
    json: Json = False,
) -> None:
    """Show space, groups, design, power and time of a study; trains nothing (a few steps are timed).

    Examples: ablate plan · ablate plan my_task.py:task --trials 300 --design drop-one
    """
    from ablate.api.design import check_options, checked_design
    from ablate.api.stages import open_study
    from ablate.catalogue.own_tricks import using_tricks
    from ablate.study.budget import divided_plan

    def change(file: StudyFile) -> StudyFile:
        settings = file.rank
        kind = checked_design(design) or settings.design
        check_options(kind, budget, {})
        return replace(
            file,
            rank=replace(
                settings,
                design=kind,
                around=around or settings.around,
            ),
        )

    options = options_of(study, machine)
    opened = open_study(study.of(given), options, study.edits(trials, choice), change)
    with using_tricks(opened.tricks):
        document = divided_plan(budget.strip(), opened, options)
    if json:
        print_json(document)
        return
    for line in plan_lines(document, verbose=verbose):
        typer.echo(line)


def plan_lines(document: dict[str, Any], *, verbose: bool) -> list[str]:
    """The plan for people. `verbose`: with the kernels' timings, the layers that tricks touch, and why others do not apply."""
    from ablate.study.remaining_time import LIMITS, minutes

    space, refused = document["space"], document["not_applicable"]
    lines = [
        f"{document['task']} on {document['device']}: {document['lanes']} lanes ({document['kernel']}), {document['workers']} workers",
        *document["budget"].splitlines(),
    ]
    if verbose:
        lines += [
            f"  measured: {row['kernel']}, {row['lanes']} lane{'s' * (row['lanes'] > 1)}: {1e3 * row['seconds']:.2f} ms per step and lane, "
            f"{row['bytes'] / 2**20:.1f} MiB a lane"
            for row in document["timings"]
        ]
    if document["slower_because"]:
        lines.append(f"layers are not compiled, and train slower: {document['slower_because']}")
    if document["alone_because"]:
        lines.append(f"lanes run one at a time: {document['alone_because']}")
    lines.append(f"the model has {document['surgery']['held']['text']}")
    if verbose:
        lines += [
            f"  {name} touches {scope['text']}" for name, scope in document["surgery"]["tricks"].items()
        ]
    lines.append(
        f"space: {len(space['tricks'])} tricks, {space['dimensions']} dimensions, 10^{space['log10_combinations']:.0f} combinations"
        + (f"; {len(refused)} tricks do not apply (--verbose says why)" if refused and not verbose else "")
    )
    if verbose:
        lines += [f"  not applicable: {name} ({why})" for name, why in refused.items()]
    lines += [f"  left out: {name} ({why})" for name, why in space["left_out"].items() if name not in refused]
    lines += [*rank_lines(document["rank"]), *_stage_lines(document)]
    total = minutes(sum(document["estimate_seconds"].values()))
    least, most = map(minutes, document["estimate_range_seconds"])
    between = f" ({least} to {most}, by how many runs the verdicts take)" if least != most else ""
    limits = "" if document["rank"].get("budget") else f"; {LIMITS}"
    return [*lines, f"in all about {total}{between}{limits}"]


def _stage_lines(document: dict[str, Any]) -> list[str]:
    """One line a stage: its time, and its runs."""
    lr_find, search = document["lr_find"], document["search"]
    apart = (
        ", as tricks that change shapes, the batch or the passes of a step train apart"
        if search["mean_lanes"] < document["lanes"] / 2
        else ""
    )
    runs = {
        "lr-find": f"at most {lr_find['runs']} runs of {lr_find['epochs']} epochs, and short runs",
        "search": f"{search['trials']} trials in {search['groups']} groups, {search['mean_lanes']:.1f} lanes on average{apart}",
        "confirm": f"about {document['confirm']['runs_about']} runs",
        **{f"rank: {part}": f"about {count} runs" for part, count in document["rank"]["runs"].items()},
    }
    return [
        f"  {f'{stage}:':18}{f'about {seconds:.0f} s' if seconds >= 1 else 'under a second':16}{runs.get(stage, '')}".rstrip()
        for stage, seconds in document["estimate_seconds"].items()
    ]


def rank_lines(rank: dict[str, Any]) -> list[str]:
    """Design, runs and power of the rank stage, and a line for each of the other designs."""
    lines = [f"rank ({rank['design']}), around {rank['around']}", f"  answers: {rank['answers']}"]
    if not sum(rank["runs"].values()):
        lines.append("  no trick is left to rank")
    else:
        lines += tuned_lines(rank) if rank["design"] == "tuned" else array_lines(rank)
    lines.append("  other designs:")
    return [*lines, *(f"    {name}: {note}" for name, note in rank["other_designs"].items())]


def tuned_lines(rank: dict[str, Any]) -> list[str]:
    """Arms, tuning, looks, budget and detectable effect of the tuned design."""
    from ablate.study.remaining_time import minutes

    arms = ", ".join(f"{count} {estimand}" for estimand, count in rank["arms"].items())
    looks = ", ".join(map(str, rank["looks"]))
    expected = ", ".join(f"{part} {count}" for part, count in rank["runs"].items() if count)
    margin = rank["margin"]
    lines = [
        f"  arms: {arms} (a reference and a placebo each among them)",
        f"  tuning: about {rank['tuning_runs_likely']} runs an arm, at most {rank['tuning_runs_at_most']}; looks after {looks} paired seeds",
        f"  planned: {sum(rank['runs'].values())} runs ({expected}); upper limit: {_limit(rank)}",
        f"  margin: {'automatic' if margin is None else margin}; "
        f"an effect of {rank['detectable_sigma']:.2f} σ of a run is found with power 0.9",
    ]
    if rank["share"] < 1:
        lines.append(
            f"  all tricks would take about {minutes(rank['seconds_of_all'])}: without --budget the most widely used ones are ranked, in about {minutes(rank['seconds'])}"
        )
    for estimand, left in rank["left_out"].items():
        lines += [f"  {estimand} has no arm for {name}: {why}" for name, why in left.items()]
    return lines


def _limit(rank: dict[str, Any]) -> str:
    """The upper limit of the tuned design: runs, or a time and what it allows."""
    from ablate.study.remaining_time import minutes

    runs, seconds = f"{rank['runs_at_most']} runs", rank["seconds_at_most"]
    if seconds is None:
        return f"{runs}{' (--budget)' if rank['budget'] else ''}"
    if rank["budget"]:
        return f"{minutes(seconds)} (--budget), about {runs}"
    return f"{minutes(seconds)} until nine tricks in ten are decided, about {runs}"


def array_lines(rank: dict[str, Any]) -> list[str]:
    """Waves, pilot, re-tuning and power of an array design."""
    lines = [f"  {rank['note']}; at most {rank['waves_at_most']} waves, {rank['runs_at_most']} runs in all"]
    for slot, levels in rank["levels"].items():
        lines.append(f"  slot {slot}: {', '.join(levels)}")
    if rank["fixed"]:
        lines.append(f"  fixed on, tested apart: {', '.join(rank['fixed'])}")
    if rates := rank["retune"]:
        lines.append(
            f"  learning rate re-tuned before, {rates['runs_per_arm']} runs for each of {len(rates['arms'])} arms: "
            f"{', '.join(rates['factors'])}"
        )
    if rank["runs"]["pilot"]:
        lines.append(f"  pilot: {rank['runs']['pilot']} runs, all tricks on and all off")
    margin = rank["margin"]
    lines.append(f"  margin: {margin if margin is not None else '0.95 σ of one run (automatic)'}")
    for size, one in rank["power_of_one_wave"].items():
        every = rank["power_of_all_waves"][size]
        lines.append(
            f"  power for an effect of {size} σ: {one:.2f} after one wave, {every:.2f} after {rank['waves_at_most']}"
        )
    return lines
