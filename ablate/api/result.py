"""What a study came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate.report.data import ReportData

LONG = ("rows", "aliases", "asked")
"""Parts of a design that the document leaves out: the report's design matrix has the rows."""


@dataclass(frozen=True)
class Spent:
    """Where the time went: `seconds` by phase (of all workers together, and of this process), `wall` seconds in all."""

    seconds: dict[str, float]
    wall: float
    workers: int


@dataclass(frozen=True)
class Study:
    """The results of a study after some of its stages: `data` is everything that its report shows, `page` the report."""

    name: str
    stages: tuple[str, ...]
    data: ReportData
    page: Path | None
    spent: Spent | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The results as plain data, as `--json` prints them."""
        ranking = self.data.ranking
        return {
            "study": self.data.study,
            "stages": list(self.stages),
            "report": str(self.page) if self.page else None,
            "lr_find": self.data.lr_find,
            "search": self.data.search,
            "confirm": self.data.confirm,
            "design": {k: v for k, v in (self.data.design or {}).items() if k not in LONG} or None,
            "ranking": [] if ranking is None else ranking.to_dict("records"),
            "timings": self.data.timings,
            **({"profile": asdict(self.spent)} if self.spent else {}),
        }
