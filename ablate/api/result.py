"""The results of a study: tables, recipes, the report and plots."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.records.designs import EXPLORATORY
from ablate.records.recipe import Recipe

# Training starts before pandas and SciPy are imported: nothing here may import them earlier.
if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes
    from rich.console import Console, ConsoleOptions, RenderResult

    from ablate.export.files import Exported
    from ablate.report.data import ReportData
    from ablate.report.verdict import Verdict
    from ablate.study.request import Opened, Options

LONG = ("rows", "aliases", "asked")
"""Parts of a design that the document leaves out: the report's design matrix has the rows."""
SHOWN = ("trick", "level", "estimand", "effect", "low", "high", "verdict", "runs")
"""Columns of the ranking in a representation."""


@dataclass(frozen=True)
class TimeSpent:
    """Where the time went: `seconds` by phase (of all workers together, and of this process), `wall` seconds in all."""

    seconds: dict[str, float]
    wall: float
    workers: int


@dataclass(frozen=True, repr=False)
class Study:
    """The results of a study after some of its stages.

    `data`: everything that the report shows; `page`: the report, None if the stage was left out; `spent`: only if requested.
    """

    name: str
    stages: tuple[str, ...]
    data: ReportData
    page: Path | None
    spent: TimeSpent | None = None
    opened: Opened | None = field(default=None, compare=False)
    options: Options | None = field(default=None, compare=False)

    @property
    def ranking(self) -> pd.DataFrame:
        """One row per trick and estimand (`RANKING_COLUMNS`): effect, positive where the trick helps, interval and verdict.
        No rows before the stage rank."""
        if self.data.ranking is None:
            import pandas as pd

            from ablate.report.data import RANKING_COLUMNS

            return pd.DataFrame(columns=list(RANKING_COLUMNS))
        return self.data.ranking.copy()

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial of the search: recipe hash, seed, outcome, every setting (`dropout.p`), metrics, seconds."""
        return self.data.stage("search").reset_index(drop=True)

    @property
    def runs(self) -> pd.DataFrame:
        """One row per training run of every stage."""
        return self.data.runs.copy()

    @property
    def best(self) -> Recipe | None:
        """The best recipe of the search, by its mean over fresh seeds; None before the search. The best of many, so its value is optimistic."""
        recipe = ((self.data.search or {}).get("best") or {}).get("recipe")
        return Recipe(recipe) if recipe else None

    @property
    def recommended(self) -> Recipe | None:
        """The recipe that the ranking (or, without one, the search) recommends, as in `recipe.toml`."""
        from ablate.report.action import recommended_recipe

        recipe = recommended_recipe(self.data)
        return Recipe(recipe) if recipe is not None else None

    @property
    def lr_find(self) -> dict[str, Any] | None:
        """The document of the learning-rate protocol, as in `lr-find.json`."""
        return self.data.lr_find

    @property
    def verdict(self) -> Verdict:
        """The result in a sentence (`headline`, `detail`), and caveats (`doubts`)."""
        from ablate.report.verdict import verdict

        return verdict(self.data, self.page.parent if self.page else None)

    def report(self) -> Path:
        """The path of the report's `index.html`; it is written if there is none yet. Raises InputError."""
        if self.page is not None:
            return self.page
        from ablate.report.build import build
        from ablate.study.request import Options

        options = self.options or Options()
        return build(options.studies / f"{self.name}.db", options.reports / self.name)

    def export(self, *kinds: str, say: Callable[[str], None] = lambda line: None) -> Exported:
        """Write the winner as a script, its recipe and weights, and the ablation as text, into `export/` of the report's folder.

        `kinds`: of "script", "recipe", "weights", "text" (all four if none is named), "parquet", "mlflow", "wandb", "tensorboard".
        Returns the paths by kind (`.files`), and notes on what is left out (`.notes`). Raises InputError.
        """
        from ablate.api.export_opened import export_opened
        from ablate.study.request import Options

        return export_opened(self.name, self.opened, self.options or Options(), kinds, say)

    def plot_ranking(self, ax: Axes | None = None, estimand: str = "") -> Axes:
        """Draw the effects of one estimand with their intervals, best on top (matplotlib); a new figure without `ax`.

        `estimand`: by default the one that the ranking is about. Raises InputError if nothing is ranked.
        """
        from ablate.api.plots import plot_ranking

        return plot_ranking(self.data, ax, estimand)

    def plot_search(self, ax: Axes | None = None) -> Axes:
        """Draw the value of every trial and the best so far. Raises InputError if nothing was searched."""
        from ablate.api.plots import plot_search

        return plot_search(self.data, ax)

    def plot_curves(self, ax: Axes | None = None, metric: str = "") -> Axes:
        """Draw learning curves of the winner and the baseline in `metric`, by default the study's. Raises InputError if there are none."""
        from ablate.api.plots import plot_curves

        return plot_curves(self.data, ax, metric)

    def plot_lr_find(self, ax: Axes | None = None, step: int = 4) -> Axes:
        """Draw the figures of a step of lr-find, by default the grid of rates. Raises InputError if it has none."""
        from ablate.api.plots import plot_lr_find

        return plot_lr_find(self.data.lr_find, ax, step)

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

    def __repr__(self) -> str:
        verdict = self.verdict
        lines = [f"Study '{self.name}' on {self.data.study.get('task', '?')}: {len(self.data.runs)} runs"]
        lines += [line for line in (verdict.headline, verdict.detail) if line]
        rows = self._shown_rows()
        if len(rows):
            lines.append(rows.to_string(index=False, float_format=lambda value: f"{value:+.4f}"))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        verdict = self.verdict
        parts = [f"<strong>{escape(verdict.headline)}</strong>", f"<p>{escape(verdict.detail)}</p>"]
        parts += [f"<p>Note: {escape(doubt)}</p>" for doubt in verdict.doubts]
        rows = self._shown_rows()
        if len(rows):
            parts.append(rows.to_html(index=False, border=0, float_format=lambda value: f"{value:+.4f}"))
        if self.page is not None:
            parts.append(f"<p>report: <code>{escape(str(self.page))}</code></p>")
        return "".join(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from ablate.api.ranking_tables import tables_of

        verdict = self.verdict
        if len(self._shown_rows()):
            yield from tables_of(self.data, options.max_width)
        yield verdict.headline
        if verdict.detail:
            yield verdict.detail

    def _shown_rows(self) -> pd.DataFrame:
        rows = self.ranking
        return rows[rows["estimand"] != EXPLORATORY].reindex(columns=list(SHOWN))
