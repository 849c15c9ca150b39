"""python -m bench.decided: which tricks get a verdict from `ablate study`, on six tasks and several study seeds.

Each study is a separate process with its default budget. Printed as Markdown: a row for every study (tricks and rows
decided, runs, seconds of each stage and in all), then for every task a row for each trick and reference with its verdict
by seed and the largest difference between two seeds. `--tasks`, `--seeds`, `--trials` size it; what is there is not run
again, so that the command can be stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from ablate.analysis.tuned_arms import counts
from ablate.ledger.store import Ledger
from ablate.records.designs import ADD_ONE
from ablate.records.trick import PLACEBO
from ablate.study.environment import environment

STUDIES = Path(__file__).parents[1] / "studies"
TASKS = (
    str(STUDIES / "digits.toml"),
    str(STUDIES / "breast-cancer.toml"),
    "wine",
    "diabetes",
    "mammography",
    str(Path(__file__).with_name("mnist_3k.toml")),
)
ABLATE = ("-c", "from ablate.cli.app import main; main()")
SHORT = {
    "helps": "+",
    "helps a little": "(+)",
    "hurts": "−",
    "hurts a little": "(−)",
    "no measurable effect": "0",
    "undecided": "?",
}
STAGES = ("lr-find", "search", "rank", "confirm", "costs")


def study(task: str, seed: int, trials: int, folder: Path) -> dict[str, Any]:
    """The study's facts and its wall seconds, from process start to end. Raises CalledProcessError where it fails."""
    name = f"{Path(task).stem}-{seed}"
    kept = folder / f"{name}.json"
    if not kept.exists():
        words = ("study", task, "--trials", str(trials), "--seed", str(seed), "--name", name)
        where = ("--studies", str(folder / "studies"), "--out", str(folder / "reports"))
        plan = subprocess.run(
            [sys.executable, *ABLATE, "plan", task, "--trials", str(trials), "--seed", str(seed), "--json", "--studies", str(folder / "studies")],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        told = {key: json.loads(plan.stdout)[key] for key in ("estimate_seconds", "estimate_range_seconds")}
        started = time.perf_counter()
        with (folder / f"{name}.log").open("w") as log:
            subprocess.run([sys.executable, *ABLATE, *words, *where], check=True, stdout=log, stderr=log)
        seconds = time.perf_counter() - started
        with Ledger.open(folder / "studies" / f"{name}.db", write=False) as ledger:
            facts = {key: ledger.fact(key) for key in ("rank", "timings")}
        kept.write_text(json.dumps({**facts, **told, "seconds": seconds}))
    document: dict[str, Any] = json.loads(kept.read_text())
    return document


def real_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in document["rank"]["rows"] if row["trick"] != PLACEBO]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary(task: str, seed: int, document: dict[str, Any]) -> list[object]:
    rank, timings, rows = document["rank"], document["timings"], real_rows(document)
    decided, total = counts(rank)
    settled = sum(row["verdict"] != "undecided" for row in rows)
    stages = ", ".join(f"{stage} {timings[stage]:.0f}" for stage in STAGES if stage in timings)
    placebos = [SHORT[row["verdict"]] for row in rank["rows"] if row["trick"] == PLACEBO]
    return [
        Path(task).stem, seed, f"{decided} of {total}", f"{settled} of {len(rows)}", " ".join(placebos),
        sum(rank["spent"].values()), rank["budget"]["tuning"]["first"], rank["budget"]["racing"]["pairs"][-1],
        f"{document['seconds']:.0f}", stages, _told(document),
    ]  # fmt: skip


def _told(document: dict[str, Any]) -> str:
    """What `ablate plan` had said of the study's time before it began."""
    estimate = document["estimate_seconds"]
    least, most = document["estimate_range_seconds"]
    rank = sum(seconds for part, seconds in estimate.items() if part.startswith("rank: "))
    search = estimate["search"] + estimate["select"]
    return f"{sum(estimate.values()):.0f} ({least:.0f} to {most:.0f}; {search:.0f}, {rank:.0f})"


def by_trick(documents: dict[int, dict[str, Any]]) -> list[list[object]]:
    """A row for each trick and reference: the effects and verdicts of every seed."""
    cells: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for seed, document in documents.items():
        for row in real_rows(document):
            cells.setdefault((row["trick"], row["estimand"]), {})[seed] = row
    rows: list[list[object]] = []
    for (trick, estimand), by_seed in sorted(cells.items()):
        verdicts = [
            f"{by_seed[s]['effect']:+.4f} {SHORT[by_seed[s]['verdict']]}" if s in by_seed else ""
            for s in documents
        ]
        runs = sum(row["runs"] for row in by_seed.values())
        seconds = sum(row["seconds"] for row in by_seed.values())
        rows.append([trick, estimand, *verdicts, runs, f"{seconds:.1f}"])
    return rows


AGREEMENT = ("task", "pairs of rows", "opposite", "equal", "equal by the margin", "of those that differ, both effects within the margin")  # fmt: skip


def agreement(task: str, documents: dict[int, dict[str, Any]]) -> list[object]:
    """How far verdicts on the baseline, which all seeds share, agree: pairs of two seeds' rows of one trick, where both are decided.

    Equal: both help, both hurt, or neither does. By the margin: the same of worth having (the verdict without "a little"), not, and harmful.
    """
    rows: dict[str, list[tuple[dict[str, Any], float]]] = {}
    for document in documents.values():
        for row in real_rows(document):
            if row["estimand"] == ADD_ONE and row["verdict"] != "undecided":
                rows.setdefault(row["trick"], []).append((row, document["rank"]["margin"]))
    pairs = [pair for rows_of_trick in rows.values() for pair in combinations(rows_of_trick, 2)]
    directions = [tuple(row["verdict"].split()[0] for row, _ in pair) for pair in pairs]
    actions = [tuple(row["verdict"] if row["verdict"] in ("helps", "hurts") else "" for row, _ in pair) for pair in pairs]  # fmt: skip
    differ = [pair for pair, (one, other) in zip(pairs, directions, strict=True) if one != other]
    small = sum(all(abs(row["effect"]) < margin for row, margin in pair) for pair in differ)
    return [
        Path(task).stem, len(pairs), sum(set(pair) == {"helps", "hurts"} for pair in directions),
        _share(sum(one == other for one, other in directions), len(pairs)),
        _share(sum(one == other for one, other in actions), len(pairs)), f"{small} of {len(differ)}",
    ]  # fmt: skip


def _share(number: int, of: int) -> str:
    return f"{number} ({number / of:.0%})" if of else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS), help="task names or files, by commas")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="study seeds, by commas")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("reports/decided"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    where = environment(torch.device("cpu"))
    print(
        f"`{' '.join(['python -m bench.decided', *sys.argv[1:]])}`, {where['cpu']}, torch {where['torch']}\n"
    )
    studies: dict[str, dict[int, dict[str, Any]]] = {}
    for task in given.tasks.split(","):
        for seed in seeds:
            studies.setdefault(task, {})[seed] = study(task, seed, given.trials, given.folder)
    header = (
        "task",
        "seed",
        "tricks decided",
        "rows decided",
        "placebos",
        "runs",
        "tuning",
        "pairs",
        "seconds",
        "stages, s",
        "planned, s (likely range; search, rank)",
    )
    print(
        table(
            header,
            [summary(task, seed, one) for task, by_seed in studies.items() for seed, one in by_seed.items()],
        )
    )
    print("\n" + table(AGREEMENT, [agreement(task, by_seed) for task, by_seed in studies.items()]))
    for task, by_seed in studies.items():
        print(
            f"\n{Path(task).stem}: effect and verdict by seed (+ helps, (+) a little, 0 no measurable effect, ? undecided)\n"
        )
        print(
            table(
                ("trick", "reference", *(f"seed {seed}" for seed in by_seed), "runs", "seconds"),
                by_trick(by_seed),
            )
        )


if __name__ == "__main__":
    main()
