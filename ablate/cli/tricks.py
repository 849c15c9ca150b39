"""`ablate tricks`: the catalogue, and the card of a trick. Reads records; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ablate.cli.options import Json
from ablate.cli.output import print_json


def tricks(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A trick, for its card.")] = "",
    seam: Annotated[str, typer.Option(help="Only the tricks of a seam.")] = "",
    task: Annotated[str, typer.Option(help="Say what applies to a task (loads torch).")] = "",
    file: Annotated[list[Path] | None, typer.Option(help="A trick of your own, by path.")] = None,
    json: Json = False,
) -> None:
    """List the tricks, or show one: what, formula, parameters, claims, sources.

    Examples: ablate tricks · ablate tricks dropout · ablate tricks --task my_task.py:task
    """
    from ablate.catalogue.registry import registry
    from ablate.records.errors import unknown
    from ablate.records.trick import SEAMS

    catalogue = registry().plus(file) if file else registry()
    if seam and seam not in SEAMS:
        raise unknown("seam", seam, SEAMS)
    if name:
        entry = catalogue.find(name)
        if json:
            print_json({**document(entry.trick), "description": entry.description})
        else:
            typer.echo(card(entry.trick, entry.description))
        return
    chosen = [trick for trick in catalogue.values() if seam in ("", trick.seam)]
    reasons = _applicable(task, catalogue) if task else {}
    if json:
        print_json([{**document(t), **({"not_applicable": reasons[t.name]} if task else {})} for t in chosen])
        return
    width = max(len(trick.name) for trick in chosen) if chosen else 0
    for group in SEAMS:
        members = [trick for trick in chosen if trick.seam == group]
        if members:
            typer.echo(f"{group}")
        for trick in members:
            slot = f" [{trick.slot}]" if trick.slot else ""
            why = f"  (not applicable: {reasons[trick.name]})" if reasons.get(trick.name) else ""
            typer.echo(f"  {trick.name:<{width}}  {trick.title}{slot}{why}")


def _applicable(task: str, catalogue: Any) -> dict[str, str]:
    import torch

    from ablate.lanes.applicable import applicable
    from ablate.lanes.context import TaskContext
    from ablate.tasks.load import load

    return applicable(TaskContext.of(load(task), catalogue, torch.device("cpu")))


def document(trick: Any) -> dict[str, Any]:
    """The record as plain data."""
    from dataclasses import asdict

    plain = asdict(trick)
    for parameter in plain["parameters"]:
        parameter["neutral"] = "inf" if parameter["neutral"] == float("inf") else parameter["neutral"]
    return plain


def card(trick: Any, description: str) -> str:
    """The card of a trick, made from its record and the head of its file."""
    lines = [f"{trick.name}: {trick.title}", "", description, ""]
    lines.append(f"seam {trick.seam}" + (f", slot {trick.slot}" if trick.slot else ""))
    if trick.applies_to:
        lines.append(f"needs {', '.join(trick.applies_to)}")
    if trick.conflicts:
        lines.append(f"not together with {', '.join(trick.conflicts)}")
    for p in trick.parameters:
        span = (
            " | ".join(map(str, p.choices))
            if p.choices
            else f"{p.low:g} to {p.high:g}{' (log)' if p.log else ''}"
            if p.is_number
            else "true | false"
        )
        neutral = "" if p.neutral is None else f", neutral {p.neutral}"
        lines.append(
            f"  {p.name}: {span}; default {p.default}{neutral}" + (f". {p.meaning}" if p.meaning else "")
        )
    for claim in trick.claims:
        source = claim.source
        lines += ["", f"claim: {claim.metric} {claim.direction}: {claim.statement}"]
        lines.append(f"  {source.authors} ({source.year}). {source.title}. {source.url}".rstrip())
        if claim.contested:
            lines.append(f"  contested: {claim.contested}")
    return "\n".join(lines)
