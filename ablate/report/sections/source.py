"""Where runs came from that another program trained, and what the analysis says of itself."""

from __future__ import annotations

from typing import Any

from ablate.report import external, tables
from ablate.report.data import ReportData


def source(data: ReportData) -> dict[str, Any]:
    return {"facts": external.source_facts(data), "scatter": tables.scatter(data)}
