"""The origin of runs of another program, and the notes of the analysis."""

from __future__ import annotations

from typing import Any

from ablate.report import external, tables
from ablate.report.data import ReportData


def source(data: ReportData) -> dict[str, Any]:
    """The section on the origin of runs of another program."""
    return {"facts": external.source_facts(data), "scatter": tables.scatter(data)}
