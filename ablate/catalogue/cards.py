"""A trick's record as plain data, as the card of `ablate tricks NAME`, and as a page of docs/tricks. Imports no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from typing import Any

from ablate.catalogue.registry import Registry
from ablate.records.trick import NEEDS_RETUNE, SEAMS, SLOW, Claim, Parameter, Trick

WIDTH = 110
INDEX = "README.md"


def document(trick: Trick) -> dict[str, Any]:
    """The record as plain data, fit for JSON."""
    plain = asdict(trick)
    for parameter in plain["parameters"]:
        parameter["neutral"] = "inf" if parameter["neutral"] == inf else parameter["neutral"]
    return plain


def values_of(parameter: Parameter) -> str:
    """What to try: a range, choices, or a switch."""
    if parameter.choices:
        return " | ".join(map(str, parameter.choices))
    if not parameter.is_number:
        return "true | false"
    return f"{parameter.low:g} to {parameter.high:g}{' (log)' if parameter.log else ''}"


def cautions(trick: Trick) -> list[str]:
    """When a trick is useless or harmful: its requirements, its conflicts, and evidence against its claims."""
    sentences = []
    if trick.applies_to:
        sentences.append(f"It needs: {', '.join(trick.applies_to)}.")
    if trick.parent:
        sentences.append(f"It acts only together with {trick.parent}.")
    if trick.conflicts:
        sentences.append(f"It cannot be combined with {', '.join(trick.conflicts)}.")
    if trick.slot:
        sentences.append(f"It replaces any other trick of the slot {trick.slot}.")
    if SLOW in trick.roles:
        sentences.append(
            "A run with it takes many times as long: it is searched and ranked only where a study names it."
        )
    if NEEDS_RETUNE in trick.roles:
        sentences.append("It shifts the best learning rate: a comparison at one rate says little.")
    for evidence in dict.fromkeys(claim.contested for claim in trick.claims if claim.contested):
        sentences.append(f"Evidence against: {evidence}.")
    return sentences


def title_of(claim: Claim) -> str:
    """A claim in one line, with the settings that it is about."""
    settings = ", ".join(f"{name} = {value}" for name, value in claim.settings)
    return f"{claim.metric} {claim.direction}{f' at {settings}' if settings else ''}: {claim.statement}"


def reference(claim: Claim) -> str:
    """The source of a claim: authors (year), title, address."""
    source = claim.source
    return f"{source.authors} ({source.year}). {source.title}. {source.url}".rstrip()


def card(trick: Trick, description: str) -> str:
    """The card of a trick: what it does, its formula, what to try, when not to use it, its claims and their sources."""
    slot = f", slot {trick.slot}" if trick.slot else ""
    lines = [f"{trick.name}: {trick.title}", f"seam {trick.seam}{slot}", "", description]
    if trick.parameters:
        lines += ["", "Settings"]
    for p in trick.parameters:
        neutral = "" if p.neutral is None else f", no effect at {p.neutral}"
        lines += _item(f"{p.name}: {values_of(p)}; default {p.default}{neutral}. {p.meaning}".rstrip())
    if cautions(trick):
        lines += ["", "When not to use it", *(line for text in cautions(trick) for line in _item(text))]
    lines += ["", "Claims"]
    for claim in trick.claims:
        lines += [*_item(title_of(claim)), f"    {reference(claim)}"]
    return "\n".join(lines)


def pages(catalogue: Registry) -> dict[str, str]:
    """File name -> text of docs/tricks: one page for each trick, and the index."""
    texts = {f"{name}.md": page(catalogue[name], catalogue.find(name).description) for name in catalogue}
    return {INDEX: index(catalogue), **texts}


def page(trick: Trick, description: str) -> str:
    """The card in Markdown."""
    slot = f", slot `{trick.slot}`" if trick.slot else ""
    lines = [f"# {trick.title}", f"`{trick.name}` · seam `{trick.seam}`{slot}", "", _paragraphs(description)]
    if trick.parameters:
        lines += [
            "",
            "## Settings",
            "| setting | values | default | no effect at | meaning |",
            "|---|---|---|---|---|",
        ]
    for p in trick.parameters:
        values, neutral = values_of(p).replace("|", "\\|"), "" if p.neutral is None else p.neutral
        lines.append(f"| `{p.name}` | {values} | {p.default} | {neutral} | {p.meaning} |")
    if cautions(trick):
        lines += ["", "## When not to use it", *(f"- {text}" for text in cautions(trick))]
    lines += ["", "## Claims"]
    for claim in trick.claims:
        lines += [f"- {title_of(claim)}", f"  {reference(claim)}"]
    return "\n".join(lines) + "\n"


def index(catalogue: Registry) -> str:
    """The tricks by seam, with their slots and first sources."""
    lines = [
        "# The tricks",
        "Generated from the records by `ablate tricks --pages docs/tricks`; a test fails when a page is out of date.",
    ]
    for seam in SEAMS:
        lines += ["", f"## {seam}", "| trick | | slot | first claim | source |", "|---|---|---|---|---|"]
        for trick in catalogue.of_seam(seam):
            claim = trick.claims[0]
            lines.append(
                f"| [{trick.name}]({trick.name}.md) | {trick.title} | {trick.slot or ''} "
                f"| {claim.metric} {claim.direction} | {claim.source.authors.split(',')[0]} {claim.source.year} |"
            )
    return "\n".join(lines) + "\n"


def listing(tricks: list[Trick], reasons: Mapping[str, str]) -> list[str]:
    """The tricks by seam, one per line; `reasons`: why some do not apply."""
    width = max((len(trick.name) for trick in tricks), default=0)
    lines: list[str] = []
    for seam in SEAMS:
        members = [trick for trick in tricks if trick.seam == seam]
        if members:
            lines.append(seam)
        for trick in members:
            slot = f" [{trick.slot}]" if trick.slot else ""
            why = f"  (not applicable: {reasons[trick.name]})" if reasons.get(trick.name) else ""
            lines.append(f"  {trick.name:<{width}}  {trick.title}{slot}{why}")
    return lines


def _item(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="  - ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _paragraphs(description: str) -> str:
    """The head of a trick's file; formulas, which are indented there, become blocks of code."""
    lines: list[str] = []
    for block in description.split("\n\n"):
        formula = all(line.startswith(" ") or not line for line in block.splitlines())
        text = textwrap.dedent(block).splitlines()
        lines.append("")
        lines.extend(["```", *text, "```"] if formula else text)
    return "\n".join(lines[1:])
