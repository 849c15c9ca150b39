"""`make bench`: speed, side by side in one run. `python -m bench --help` for sizes."""

from __future__ import annotations

import argparse

import torch

from ablate.study.environment import environment
from bench.trials import compare

TARGETS = {"digits": 4.0, "breast-cancer": 8.0}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tasks", nargs="*", default=list(TARGETS))
    asked = parser.parse_args()
    about = environment(torch.device("cpu"))
    print(
        f"{about['cpu']}, {about['cores']} cores; ablate {about['ablate']}, torch {about['torch']}, optuna {about['optuna']}"
    )
    print(
        f"{asked.trials} trials, no pruning, median of {asked.repeats}, whole process (with start-up), in turn"
    )
    print("ablate also trains the five best again on three seeds (15 runs), which the plain loop does not")
    for task in asked.tasks:
        plain, own = compare(task, asked.trials, asked.repeats)
        ratio = plain / own
        print(
            f"{task}: plain {plain:.1f} s, ablate {own:.1f} s, ratio {ratio:.2f} (target {TARGETS.get(task, 1):g})"
        )


if __name__ == "__main__":
    main()
