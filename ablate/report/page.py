"""The report page: its sections in order, each filled from data or showing the command that produces them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ablate.report import external
from ablate.report.data import ReportData
from ablate.report.plots.palette import DARK, LIGHT
from ablate.report.plots.picture import Picture
from ablate.report.sections import account, process, results, source
from ablate.report.verdict import verdict

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Section:
    """`absent`: nothing to show yet; `command`: the one that would produce it, if there is one."""

    name: str
    title: str
    content: dict[str, Any] = field(default_factory=dict)
    absent: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The HTML and the pictures in it (for `plots/`)."""

    html: str
    pictures: tuple[Picture, ...]


def render(data: ReportData) -> Page:
    """One self-contained HTML file: no requests, no script except `page.js` (allowed by its hash), every string escaped."""
    shown = [_section(data, *entry) for entry in (_EXTERNAL if data.external else _ORDER)]
    pictures = tuple(picture for section in shown for picture in _pictures(section.content))
    style, script = _stylesheet(), (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            data=data,
            verdict=verdict(data),
            header=account.header(data),
            sections=shown,
            files=external.files(data.external) if data.external else _FILES,
            style=Markup(style),
            style_hash=_hash(style),
            script=Markup(script),
            script_hash=_hash(script),
        )
    )
    return Page(html, pictures)


def _hash(text: str) -> str:
    """The name that a content security policy has for an element with this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _section(
    data: ReportData,
    name: str,
    title: str,
    command: str,
    build: Callable[[ReportData], dict[str, Any] | None],
) -> Section:
    content = build(data)
    if content is None:
        task = data.study.get("task", data.name)
        return Section(name, title, absent=True, command=command.format(study=data.asked, task=task))
    return Section(name, title, content)


_ORDER = (
    ("ranking", "The ranking", "ablate rank {study}", results.ranking),
    (
        "confirmation",
        "Confirmation on fresh seeds",
        "ablate confirm {study}",
        results.confirmation,
    ),
    ("search", "The search", "ablate study {study} --stages search", process.search),
    ("lr-find", "Finding the learning rate", "ablate lr-find {task}", process.lr_find),
    ("curves", "Learning curves", "ablate study {study}", process.learning_curves),
    ("failures", "Failures and divergences", "ablate study {study}", account.failures),
    ("costs", "What each trick costs", "", account.costs),
    ("design", "Design and diagnostics", "ablate plan {study}", account.design),
    ("reproduce", "How to reproduce", "", account.reproduce),
)

_EXTERNAL = (
    ("ranking", "The ranking", "", results.ranking),
    ("failures", "Failures and divergences", "", account.failures),
    ("source", "How the runs were read", "", source.source),
    ("reproduce", "How to reproduce", "", account.reproduce),
)
_FILES = [
    ("ranking.csv", "one row a trick and estimand"),
    ("runs.csv", "one row a run: settings, outcome, metrics on each split"),
    ("curves.csv", "one row a run, metric and epoch"),
    ("lr-find.json", "the six steps with their figures"),
    ("study.json", "stages, versions, hardware, seeds, hashes, timings"),
    ("recipe.toml", "the recommended recipe"),
    ("plots/", "every figure as SVG"),
]


def _pictures(content: Any) -> list[Picture]:
    """Every picture anywhere in a section's content, in order."""
    if isinstance(content, Picture):
        return [content]
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list | tuple):
        return [picture for item in content for picture in _pictures(item)]
    return []


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["drawing"] = lambda picture: Markup(picture.svg)  # escaped by the XML writer
    return environment


def _stylesheet() -> str:
    """The stylesheet, preceded by the palette of the plots."""

    def variables(palette: dict[str, str]) -> str:
        return "".join(f"--{role}:{colour};" for role, colour in palette.items())

    root = f":root{{{variables(LIGHT)}}}\n@media (prefers-color-scheme:dark){{@media screen{{:root{{{variables(DARK)}}}}}}}\n"
    return "\n" + root + (_TEMPLATES / "style.css").read_text(encoding="utf-8")
