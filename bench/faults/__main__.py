"""Run the corpus, keep each answer in bench/results/faults.csv as it comes, and write the table of docs/lr_find.md.

`python -m bench.faults` goes on where it was stopped: cases and seeds that the file has are not run again (`--fresh`: all
are). `--only TEXT` runs the cases whose name contains it; `--seeds 2` fewer seeds; `--table` only writes the table.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from bench.faults.case import Answer, Case, examine, judge
from bench.faults.corpus import FAULTS, HEALTHY
from bench.faults.table import write_table

RESULTS = Path(__file__).parent.parent / "results" / "faults.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file. `expected`: codes and steps of a fault; empty for a healthy task. `told`: what is no note, in order.
    `seconds`: CPU time of the process with one thread."""

    case: str
    expected: str
    seed: int
    verdict: str
    told: str
    rate: str
    seconds: str


def row_of(case: Case, seed: int, answer: Answer) -> Row:
    expected = f"{' or '.join(case.codes)}, step {' or '.join(map(str, case.steps))}" if case.codes else ""
    verdict: str = (
        judge(case, answer)
        if case.codes
        else ("fail" if answer.failed else "warn" if answer.told else "pass")
    )
    diagnoses = "; ".join(f"{one.step} {one.level} {one.code}" for one in answer.told)
    rate = "" if answer.rate is None else f"{answer.rate:g}"
    return Row(case.name, expected, seed, verdict, diagnoses, rate, f"{answer.seconds:.1f}")


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**{**line, "seed": int(line["seed"])}) for line in csv.DictReader(file)]  # type: ignore[arg-type]


def write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fresh", action="store_true", help="run again what the file has")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    cases = [case for case in (*FAULTS, *HEALTHY) if args.only in case.name]
    rows = {(row.case, row.seed): row for row in read(args.results)}
    order = {case.name: place for place, case in enumerate((*FAULTS, *HEALTHY))}
    torch.set_num_threads(1)
    for seed in range(0 if args.table else args.seeds):
        for case in cases:
            if (case.name, seed) in rows and not args.fresh:
                continue
            row = row_of(case, seed, examine(case, seed))
            rows[case.name, seed] = row
            kept = [one for one in rows.values() if one.case in order]
            write(args.results, sorted(kept, key=lambda one: (order[one.case], one.seed)))
            print(f"{row.verdict:12} {row.case} [{seed}] {row.told}", flush=True)
    known = [row for row in rows.values() if row.case in order]
    print("\n".join(write_table(sorted(known, key=lambda one: (order[one.case], one.seed)))))


if __name__ == "__main__":
    main()
