"""`python -m bench.statistics.racing`: the tuned racing design on simulated scores; exit code 1 for a miss without a reason."""

from __future__ import annotations

import argparse
import platform
import sys
import time

import numpy as np
import scipy

from bench.statistics.__main__ import line
from bench.statistics.figures import Figure
from bench.statistics.race_figures import race_figures
from bench.statistics.race_worlds import worlds
from bench.statistics.races import simulate
from bench.statistics.sections import put

HEAD = ("| world | figure | measured | target | n | |", "|---|---|---:|---|---:|---|")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.statistics.racing", description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000, help="races a world (default 2000)")
    parser.add_argument(
        "--tuned", type=int, default=500, help="races a world in which rates are tuned (default 500)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--write", action="store_true", help="record the outcome in bench/results/validation.md"
    )
    options = parser.parse_args()
    started = time.monotonic()
    print(*HEAD, sep="\n", flush=True)
    figures: list[Figure] = []
    for world in worlds():
        count = options.tuned if world.curvature else options.replicates
        for figure in race_figures(world, simulate(world, count, options.seed)):
            figures.append(figure)
            print(line(figure), flush=True)
    summary, reasons, unexplained = told(figures)
    print("", summary, *reasons, sep="\n")
    if options.write:
        command = f"python -m bench.statistics.racing --replicates {options.replicates} --tuned {options.tuned} --seed {options.seed} --write"
        put("racing", report(command, time.monotonic() - started, summary, reasons, figures))
    return 1 if unexplained else 0


def told(figures: list[Figure]) -> tuple[str, list[str], int]:
    """(one line, the reasons of misses, the misses without one)."""
    bounded = [figure for figure in figures if figure.target != "none"]
    misses = [figure for figure in bounded if not figure.met]
    unexplained = sum(not figure.why for figure in misses)
    summary = (
        f"{len(bounded) - len(misses)} of {len(bounded)} targets met, {len(misses) - unexplained} missed and explained, "
        f"{unexplained} missed without explanation."
    )
    reasons: dict[str, list[str]] = {}
    for figure in misses:
        if figure.why:
            reasons.setdefault(figure.why, []).append(f"{figure.name} ({figure.world}: {figure.value:.3f})")
    return summary, [f"- {'; '.join(names)}: {why}." for why, names in reasons.items()], unexplained


def report(
    command: str, seconds: float, summary: str, reasons: list[str], figures: list[Figure]
) -> list[str]:
    return [
        "## The tuned racing design, simulated", "",
        f"`{command}`, {seconds:.0f} s wall time beside other work on a 2-core x86-64 CPU; Python {platform.python_version()}, numpy "
        f"{np.__version__}, scipy {scipy.__version__}.", "",
        "Scores are drawn, nothing is trained. Unless the world says otherwise: fourteen tricks of 2 … −1.5 σ, three of them without "
        "effect, and a placebo on seeds of its own; margin 0.95 σ; looks up to 40 pairs; σ is one run's on one split, splits differ by "
        "0.5 σ. Races are computed by `replay_many.py`, which a test holds to the shipped `replay` row by row; rates are chosen by the "
        "shipped `tune`. “Called”: helps or hurts, “a little” among them. Effects count for signs and errors as they are at each "
        "arm's best rate; coverage is of the effect at the rates that were chosen. n: races, or races × arms.", "",
        "Arms that stop early: an arm that stops as soon as it is decided is off in the direction that decided it, so plain intervals of arms between "
        "m/2 and the margin hold less than 95 % (0.88 to 0.92 of the worst arm). Intervals of arms that are decided before the last look have a nominal level of up to 97 % instead; "
        "those of clear effects and of none then hold more than 95 %.", "",
        f"**{summary}**", "", *reasons, "", *HEAD, *map(line, figures), "",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
