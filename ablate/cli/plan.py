"""`ablate plan`: what would be run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.common import Device, ExecutorName, Json, Lanes, Studies, Trials, Workers, print_json


def plan(
    given: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="A study file, its name, a task, or file.py:name.")
    ] = "digits",
    trials: Trials = None,
    device: Device = "auto",
    lanes: Lanes = 0,
    workers: Workers = 0,
    executor: ExecutorName = "auto",
    studies: Studies = Path("studies"),
    json: Json = False,
) -> None:
    """Show space, groups, design, power and time of a study; trains nothing (a dozen steps are timed).

    Examples: ablate plan · ablate plan my_task.py:task --trials 300
    """
    from dataclasses import replace

    from ablate.cli.running import changed
    from ablate.study.opening import Options, find
    from ablate.study.plan import plan as planned

    options = Options(studies, device=device, lanes=lanes, workers=workers, executor=executor)
    opened = find(given, options)
    document = planned(replace(opened, study=changed(opened.study, trials, None, None)), options)
    if json:
        print_json(document)
        return
    space, search, rank = document["space"], document["search"], document["rank"]
    echo = typer.echo
    echo(
        f"{document['task']} on {document['device']}: {document['lanes']} lanes ({document['kernel']}), {document['workers']} workers"
    )
    if document["alone_because"]:
        echo(f"lanes run one at a time: {document['alone_because']}")
    echo(
        f"space: {len(space['tricks'])} tricks, {space['dimensions']} dimensions, 10^{space['log10_combinations']:.0f} combinations"
    )
    for name, why in document["not_applicable"].items():
        echo(f"  not applicable: {name} ({why})")
    echo(
        f"search: {search['trials']} trials in {search['groups']} groups, {search['mean_lanes']:.1f} lanes on average"
    )
    echo(f"rank: {rank['design']}; at most {rank['waves_at_most']} waves")
    for size, power in rank["power_of_one_wave"].items():
        echo(f"  power of one wave for an effect of {size} σ: {power:.2f}")
    echo(f"confirm: about {document['confirm']['runs_about']} runs")
    for stage, seconds in document["estimate_seconds"].items():
        echo(f"  {stage}: about {seconds:.0f} s")
