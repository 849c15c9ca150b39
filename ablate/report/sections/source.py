"""The origin of runs of another program, and the notes of the analysis."""

from __future__ import annotations

from ablate.report import external, tables
from ablate.report.data import ReportData
from ablate.report.sections import Content


def source(data: ReportData) -> Content:
    """The section on the origin of runs of another program."""
    return {"facts": external.source_facts(data), "scatter": tables.scatter(data)}
