"""The ablation as a paragraph and a table for a paper: Markdown and LaTeX, from what the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.ranking.estimands import ESTIMANDS
from ablate.ranking.estimation.coding import lines
from ablate.records.designs import ADD_ONE, EXPLORATORY, TOGGLE, TUNED, Estimand
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO
from ablate.report.action import is_untuned
from ablate.report.data import ReportData
from ablate.report.ladder import steps_text
from ablate.report.main_rows import label, main_rows
from ablate.report.numbers import missing, plural
from ablate.report.verdict import verdict

PLAIN = str.maketrans({"\N{NARROW NO-BREAK SPACE}": " ", "\N{NO-BREAK SPACE}": " ", "\N{THIN SPACE}": " "})
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$",
    "–": "--", "“": "``", "”": "''", "’": "'", "σ": r"$\sigma$", "α": r"$\alpha$", "≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$", "→": r"$\to$",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "",
}  # fmt: skip


@dataclass(frozen=True)
class Ablation:
    """`paragraph`: what was done and found. `header`, `rows`: the table's cells; `caption`: what it shows."""

    paragraph: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The paragraph, and the table as a pipe table under its caption."""
        table = [_pipes(self.header), "|---|" + "---:|" * 2 + "---|" + "---:|" * (len(self.header) - 4)]
        table += map(_pipes, self.rows)
        return f"{self.paragraph}\n\n*{self.caption}*\n\n" + "\n".join(table) + "\n"

    def latex(self) -> str:
        """The same in LaTeX; needs the package booktabs."""
        head, *body = (" & ".join(map(_latex, cells)) + r" \\" for cells in (self.header, *self.rows))
        columns = "lrrl" + "r" * (len(self.header) - 4)
        table = [
            r"\begin{table}", r"\centering", rf"\caption{{{_latex(self.caption)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
            head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]  # fmt: skip
        return f"{_latex(self.paragraph)}\n\n" + "\n".join(table) + "\n"


def task_name(data: ReportData) -> str:
    """What the study's task is called: the reference of a file, the name of an object of a Python program."""
    return str(data.study.get("task", data.name)).removeprefix("python:")


def ablation(data: ReportData) -> Ablation:
    """The ablation of a study. Raises InputError where no trick has been ranked."""
    rows = main_rows(data)
    if data.ranking is None or rows is None or str(rows["estimand"].iloc[0]) == EXPLORATORY:
        raise InputError(
            f"nothing has been ranked in '{data.name}' yet", hint=f"run: ablate rank {data.asked}"
        )
    wanted: list[Estimand] = (
        [TOGGLE, ADD_ONE] if (data.design or {}).get("kind") == TUNED else [rows["estimand"].iloc[0]]
    )
    shown = data.ranking[data.ranking["estimand"].isin(wanted) & (data.ranking["metric"] == data.metric)]
    several = shown["estimand"].nunique() > 1
    units = data.units
    header = (
        "Trick",
        f"Effect{f' ({units.difference.strip()})' if units.difference else ''}",
        "95 % interval",
        "Verdict",
        "Runs",
    )
    table = []
    ordered = shown.sort_values(["estimand", "effect"], ascending=[False, False], kind="stable")
    for row in lines(ordered):
        name = label(data, str(row["trick"]), str(row["level"]))
        where = f", {ESTIMANDS[row['estimand']].where}" if several else ""
        runs = "" if missing(row["runs"]) else str(int(row["runs"]))
        cells = (
            f"{name}{where}",
            units.effect(row["effect"]),
            units.interval(row["low"], row["high"]),
            str(row["verdict"]),
            runs,
        )
        table.append(tuple(map(_plain, cells)))
    present = set(shown["estimand"])
    where = " and ".join(
        dict.fromkeys(ESTIMANDS[estimand].where for estimand in wanted if estimand in present)
    )
    better = "higher" if data.higher_is_better else "lower"
    caption = (
        f"Effect of each training trick on {data.metric} of {task_name(data)} ({better} is better), {where}; "
        "positive helps. The placebo does nothing."
    )
    return Ablation(
        _plain(_paragraph(data, ordered["trick"].tolist())), _plain(caption), header, tuple(table)
    )


def _paragraph(data: ReportData, tricks: Sequence[str]) -> str:
    summary = verdict(data)
    measured = len({str(name) for name in tricks} - {PLACEBO})
    epochs = data.study.get("epochs")
    methods = str((data.diagnostics or {}).get("methods") or (data.design or {}).get("methods") or "")
    design = methods or (
        f"We measured the effect of {plural(measured, 'training trick')} on {data.metric} of {task_name(data)}"
        f"{f', {epochs} epochs a run' if epochs else ''}, each trick at {_rate(data)} against its reference on the same seeds."
    )
    groups = "; ".join(f"{verdict_}: {', '.join(names)}" for verdict_, names in summary.groups)
    by_verdict = f" By verdict: {groups}." if groups else ""
    steps = steps_text(data)
    return f"{design} {summary.headline} {summary.detail}{by_verdict}{f' {steps}' if steps else ''}"


def _rate(data: ReportData) -> str:
    """At which rate a trick was compared; a budget may have left no runs to tune the arms."""
    design = data.design or {}
    untuned = design.get("kind") == TUNED and is_untuned(design)
    return (
        "its reference's learning rate (there was no budget to tune it)"
        if untuned
        else "its own best learning rate"
    )


def _plain(text: str) -> str:
    return " ".join(text.translate(PLAIN).split())


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
