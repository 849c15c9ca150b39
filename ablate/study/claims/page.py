"""The table of the claims suite as Markdown: `docs/claims.md` is made from `bench/results/claims.csv`. Imports no torch."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.records.claim_metrics import COSTS
from ablate.tasks.metric_table import is_share

Row = Mapping[str, Any]
TEXT = (
    "claim", "trick", "statement", "task", "metric", "direction", "verdict", "rates", "source", "url",
)  # fmt: skip
VERDICTS = ("supported", "contradicted", "no evidence here")


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows that `ablate claims --csv` wrote, numbers as numbers; an empty cell is None."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: cell if key in TEXT else float(cell) if cell else None for key, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def effect_text(row: Row) -> str:
    """The effect and its interval in the metric's units: points for shares, a factor for costs."""
    effect, low, high = (float(row[key]) for key in ("effect", "low", "high"))
    if row["metric"] in COSTS:
        return f"×{effect:.2f} [{low:.2f}, {high:.2f}]"
    if is_share(str(row["metric"])):
        return f"{100 * effect:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    digits = 0 if max(abs(effect), abs(low), abs(high)) >= 20 else 3
    return f"{effect:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def claims_page(rows: Sequence[Row]) -> str:
    """The page: how it was measured, a count of verdicts, and one line a claim."""
    counts = Counter(str(row["verdict"]) for row in rows)
    by_verdict = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    pairs = sorted({int(row["pairs"]) for row in rows if row["metric"] not in COSTS})
    spread = f"{pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}" if pairs else "no"
    return "\n".join(
        [
            "# Claims of the literature, put to the test",
            "",
            "Each line is a small experiment: a recipe with the trick against the same recipe without it, both at their own best learning rate",
            "(tuned with the same number of runs, unless the claim is about a given rate), on paired seeds that tuning did not use. The claim is",
            "judged in its own metric: *supported* where the 95 % interval of the mean difference excludes zero on the claimed side (for = ≥ ≤: lies",
            "within the margin), *contradicted* where it excludes zero on the other, else *no evidence here*. These are small networks on small data: a",
            "verdict holds for the experiment in `studies/claims/`, not for the paper's. Of twenty tricks without an effect, chance alone would make one seem to have one.",
            "",
            f"{len(rows)} claims: {by_verdict}. {spread} pairs each, {sum(int(row['runs']) for row in rows)} runs.",
            "Made by `ablate claims --csv bench/results/claims.csv --page docs/claims.md` on a 2-core CPU; one claim: `ablate claims NAME`.",
            "Each row is the latest run of its claim; rows are not updated when the tuning method changes. Claims of `studies/claims/` without a row have not been run.",
            "",
            "| trick | claim | task | metric | without → with | effect | verdict |",
            "|---|---|---|---|---|---|---|",
            *(_line(row) for row in rows),
            "",
        ]
    )


def _line(row: Row) -> str:
    source = _short(str(row["source"]))
    source = f"[{source}]({row['url']})" if row["url"] else source
    notes = [f"{_side(row, 'without')} → {_side(row, 'with')}"]
    failed = [int(row[key] or 0) for key in ("failed_without", "failed_with")]
    if any(failed):
        notes.append(f"failed {failed[0]} → {failed[1]}")
    rates = [row["rate_without"], row["rate_with"]]
    if all(rate is not None for rate in rates):
        rate = (
            f"{float(rates[0]):g}" if rates[0] == rates[1] else f"{float(rates[0]):g} → {float(rates[1]):g}"
        )
        notes.append(f"rate {rate}" + (" (given)" if row["rates"] == "given" else ""))
    sign = {"up": "↑", "down": "↓", "same": "=", "not lower": "≥", "not higher": "≤"}[str(row["direction"])]
    verdict = f"**{row['verdict']}**" if row["verdict"] != "no evidence here" else str(row["verdict"])
    cells = (
        f"[{row['trick']}](tricks/{row['trick']}.md)", f"{row['statement']} ({source})", str(row["task"]),
        f"{row['metric']} {sign}", "; ".join(notes), effect_text(row), verdict,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _short(source: str) -> str:
    """ "A, B, C 2017" -> "A et al. 2017"."""
    authors, _, year = source.rpartition(" ")
    names = authors.split(", ")
    return f"{names[0]} et al. {year}" if len(names) > 2 else source


def _side(row: Row, side: str) -> str:
    value = float(row[side])
    if row["metric"] == "memory":
        return f"{value / 2**20:.2f} MiB"
    if row["metric"] == "time":
        return f"{1e6 * value:.0f} µs"
    return f"{100 * value:.1f} %" if is_share(str(row["metric"])) else f"{value:.4g}"
