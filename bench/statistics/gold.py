"""`python -m bench.statistics.gold TASK`: the effects of ten tricks on a task, measured far more finely than any study does.

1. Every arm that a study has (trick and setting) is trained at every rate of a dense grid, a decade to each side of the
   baseline's and further where the best one is at an edge, on GRID seeds.
2. The FINALISTS best points of each arm are trained on SELECTION fresh seeds.
3. The MEASURED best of those are trained on PAIRS fresh seeds that all arms share. A seed deals training and validation anew.

The arm's own optimum is chosen on every other seed of step 3, and its score taken from the others, and the other way round (`gold_studies.gold_of`).
The gold value of an arm is the mean paired difference of these scores to the reference's: no seed chose the point that it scores, and a point is
chosen on PAIRS / 2 seeds. (Chosen on SELECTION seeds alone, `ema` on digits was measured at a rate that is not the best of its reference.) Runs stay
in a ledger, so that the same command goes on where it stopped; the outcome is `bench/results/gold-TASK.csv` (a row a run of
step 3) and `bench/results/gold-TASK-rates.csv` (a row a point of steps 1 and 2).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ablate.records.recipe import Recipe
from ablate.study.ranking.arms import Arm, rate_of, with_rate
from ablate.study.ranking.tuned import TunedStage
from ablate.study.ranking.tuning_points import DENSE, lattice

RESULTS = Path(__file__).parents[1] / "results"
FOLDER = Path(tempfile.gettempdir()) / "ablate-gold"
GRID, SELECTION, PAIRS, FINALISTS, MEASURED = 3, 16, 200, 6, 3
SEEDS = {"grid": 0x601D0, "selection": 0x601D1, "pairs": 0x601D2}
"""Keys of the seeds of each step; no study draws from these."""
REFERENCE = "baseline"


@dataclass(frozen=True, slots=True)
class GoldTask:
    """A task with its recipe, ten tricks, and the smallest effect that matters in the metric's units."""

    task: str
    metric: str
    rate: float
    margin: float
    tricks: tuple[str, ...]


TASKS = {
    "digits": GoldTask(
        "digits", "validation/accuracy", 0.05, 0.01,
        ("label_smoothing", "mixup", "translate", "dropout", "batch_norm", "layer_norm", "ema", "clip_norm", "adamw", "weight_decay"),
    ),
    "breast-cancer": GoldTask(
        "breast-cancer", "validation/log_loss", 0.02, 0.01,
        ("label_smoothing", "mixup", "dropout", "batch_norm", "layer_norm", "ema", "clip_norm", "adamw", "weight_decay", "skip_connection"),
    ),
}  # fmt: skip
STUDY = """task = "{task}"
metric = "{metric}"
seed = {seed}
[baseline]
optimizer = {{ name = "momentum", lr = {rate}, momentum = 0.9 }}
cosine = true
[space]
include = [{names}]
[rank]
around = "baseline"
margin = {margin}
"""


def study_text(gold: GoldTask, *, seed: int, rate: float | None = None) -> str:
    """A study of the task's ten tricks, as a person would write it, with the default budget."""
    names = ", ".join(f'"{name}"' for name in gold.tricks)
    return STUDY.format(
        task=gold.task, metric=gold.metric, seed=seed, rate=rate or gold.rate, names=names,
        margin=gold.margin,
    )  # fmt: skip


@contextmanager
def stage_of(gold: GoldTask, folder: Path, workers: int) -> Iterator[TunedStage]:
    """The rank stage of a study around the baseline, open, with nothing trained."""
    from ablate.lanes.applicable import applicable
    from ablate.study.driver import baseline_of, space_of
    from ablate.study.request import Options, find
    from ablate.study.resume import session_of

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"gold-{gold.task}.toml"
    file.write_text(study_text(gold, seed=0), encoding="utf-8")
    options = Options(
        folder / "studies",
        folder / "reports",
        device="cpu",
        workers=workers,
        executor="inline" if workers == 1 else "auto",
    )
    with session_of(find(str(file), options), options) as session:
        baseline = baseline_of(session)
        space = space_of(session, baseline, applicable(session.context))
        yield TunedStage(session, baseline, baseline, list(space.settings))


class Gold:
    """Scores of every point that was trained: (arm, recipe) -> seed -> score, more is better."""

    def __init__(self, stage: TunedStage) -> None:
        self.stage = stage
        self.arms = {arm.trick or REFERENCE: arm for arm in stage.every if not arm.is_placebo}
        self.scores: dict[str, dict[tuple[str, Recipe], np.ndarray]] = {}

    def train(self, step: str, points: Sequence[tuple[str, Recipe]], seeds: int) -> None:
        """Means over the first `seeds` seeds of a step, for points that are not there yet."""
        known = self.scores.setdefault(step, {})
        new = [point for point in dict.fromkeys(points) if point not in known]
        seed_numbers = self.stage.first_seeds(seeds, SEEDS[step])
        entries = self.stage.train(
            [(name, recipe, seed) for name, recipe in new for seed in seed_numbers], "gold", f"gold, {step}"
        )
        values = np.array([self.stage.score(entry, final=False) for entry in entries]).reshape(-1, seeds)
        known.update(zip(new, values, strict=True))

    def grid(self) -> None:
        """Step 1: every setting at every rate; four more rates outwards as long as an arm's best is at an edge."""
        reach = {name: (-len(DENSE), len(DENSE)) for name in self.arms}
        while True:
            points = [
                (name, point)
                for name, arm in self.arms.items()
                for point in _points(arm, range(reach[name][0], reach[name][1] + 1), self.stage)
            ]
            self.train("grid", points, GRID)
            wider = {
                name: edges for name in self.arms if (edges := self._wider(name, reach[name])) != reach[name]
            }
            if not wider:
                return
            reach |= wider

    def _wider(self, name: str, reach: tuple[int, int]) -> tuple[int, int]:
        recipe = self.ranked("grid", name)[0]
        rates = sorted({rate_of(one, self.stage.catalogue) or 0.0 for one in self.ranked("grid", name)})
        rate = rate_of(recipe, self.stage.catalogue)
        if rate in rates[:2] and reach[0] > -18:
            return reach[0] - 4, reach[1]
        return (reach[0], reach[1] + 4) if rate in rates[-2:] and reach[1] < 18 else reach

    def ranked(self, step: str, name: str) -> list[Recipe]:
        """An arm's points, the best mean first."""
        means = {recipe: scores.mean() for (arm, recipe), scores in self.scores[step].items() if arm == name}
        return sorted(means, key=lambda recipe: -means[recipe])

    def measure(self) -> None:
        self.grid()
        finalists = [(name, recipe) for name in self.arms for recipe in self.ranked("grid", name)[:FINALISTS]]
        self.train("selection", finalists, SELECTION)
        best = [(name, recipe) for name in self.arms for recipe in self.ranked("selection", name)[:MEASURED]]
        self.train("pairs", best, PAIRS)


def _points(arm: Arm, places: Sequence[int], stage: TunedStage) -> list[Recipe]:
    recipes = []
    for recipe in arm.recipes:
        rate = rate_of(recipe, stage.catalogue)
        recipes += [recipe] if rate is None else [
            with_rate(recipe, stage.catalogue, lattice(rate, place)) for place in places
        ]  # fmt: skip
    return recipes


def described(recipe: Recipe, trick: str) -> str:
    settings: Mapping[str, object] = recipe.get(trick, {})
    return " ".join(f"{key}={value}" for key, value in settings.items() if key != "lr")


def tables(gold: Gold) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a row a run of the measured pairs, a row a point of the steps that chose them)."""
    catalogue = gold.stage.catalogue
    runs = [
        {"arm": name, "sign": gold.arms[name].sign, "setting": described(recipe, name), "rate": rate_of(recipe, catalogue), "seed": seed, "score": score}
        for (name, recipe), scores in gold.scores["pairs"].items()
        for seed, score in enumerate(scores)
    ]  # fmt: skip
    points = [
        {"arm": name, "setting": described(recipe, name), "rate": rate_of(recipe, catalogue), "step": step, "seeds": len(scores), "mean": scores.mean(), "sd": scores.std(ddof=1)}
        for step in ("grid", "selection")
        for (name, recipe), scores in gold.scores[step].items()
    ]  # fmt: skip
    return pd.DataFrame(runs), pd.DataFrame(points)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.statistics.gold", description=__doc__)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where the ledger is (default: in the temporary folder)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that train (default 1)")
    options = parser.parse_args()
    with stage_of(TASKS[options.task], options.folder.resolve(), options.workers) as stage:
        gold = Gold(stage)
        gold.measure()
        runs, points = tables(gold)
    runs.to_csv(RESULTS / f"gold-{options.task}.csv", index=False, float_format="%.6g", lineterminator="\n")
    points.to_csv(
        RESULTS / f"gold-{options.task}-rates.csv", index=False, float_format="%.6g", lineterminator="\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
