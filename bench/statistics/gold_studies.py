"""`python -m bench.statistics.gold_studies`: studies held against the gold standard of `bench.statistics.gold`.

Resampled races: the arms' gold runs as a population, from which races draw seeds with replacement; the gold value is then the
truth exactly, and nothing is trained. Real studies: `ablate rank` around the baseline with seeds of their own, tuning and
all, twelve at the same rate, four begun at half and four at twice the rate. Their runs stay in ledgers, and their rows in
`bench/results/gold-TASK-studies.csv`, which is what is judged unless `--train` is given.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from ablate.ranking.designs.racing import Racing
from bench.statistics.figures import Figure
from bench.statistics.gold import REFERENCE, RESULTS, TASKS, GoldTask, study_text
from bench.statistics.replay_many import Outcome, replay_many
from bench.statistics.sections import put

FOLDER = Path(tempfile.gettempdir()) / "ablate-gold"
STUDIES = {
    **{f"seed {seed}": (seed, 1.0) for seed in (1, 2, 5, 6, 7, 8, *range(11, 17))},
    **{f"half the rate, seed {seed}": (seed, 0.5) for seed in (3, 9, 17, 18)},
    **{f"twice the rate, seed {seed}": (seed, 2.0) for seed in (4, 10, 19, 20)},
}
"""Name -> seed, and the factor of the baseline's rate."""
COVERED, AGREED, FALSE = 0.93, 0.85, 0.06
PAIRS = 40
UNBOUNDED = -np.inf, np.inf
HEAD = ("| world | figure | measured | target | n | |", "|---|---|---:|---|---:|---|")
ABOUT = """## Against the gold standard: real training

`{command}`; gold runs by `python -m bench.statistics.gold TASK`, studies by `python -m bench.statistics.gold_studies --train TASK`, on a
2-core x86-64 CPU beside other work. Gold: every trick and setting on a grid of 13 rates or more (3 seeds), the best six points of each
on 16 more, the best three of those on 200 fresh seeds that all arms share, each of which deals training and validation anew; a half of these seeds
chooses the point that the other half scores. Every run is in gold-TASK.csv, every point of the grid in gold-TASK-rates.csv. “Races on gold runs” draw seeds from these 200 with
replacement, so that the gold value is their truth; they judge looks, intervals and verdicts on real scores, not tuning. Scores are
negated where less is better: a positive effect helps. Studies have their default budget."""


def gold_of(task: str) -> pd.DataFrame:
    """Scores of the gold runs: a row a seed, a column an arm, each at the arm's best point, which is chosen on the seeds of the other half.
    The effect of *having* a trick has the sign of `signs_of`."""
    runs = pd.read_csv(RESULTS / f"gold-{task}.csv").fillna({"setting": "", "rate": 0.0})
    columns = {}
    for arm, runs_of_arm in runs.groupby("arm"):
        scores = runs_of_arm.pivot_table(index="seed", columns=["setting", "rate"], values="score")
        even = scores.index % 2 == 0
        best = {half: scores[even == half].mean().idxmax() for half in (True, False)}
        columns[str(arm)] = pd.concat([scores.loc[even == half, best[not half]] for half in (True, False)])
    return pd.DataFrame(columns).sort_index()


def signs_of(task: str) -> pd.Series:
    """-1 for a trick of the baseline, whose arm does without it."""
    return pd.read_csv(RESULTS / f"gold-{task}.csv").groupby("arm")["sign"].first()


def gold_effects(task: str) -> pd.DataFrame:
    """`effect` of having each trick (more is better), its standard error `se`, and `n`."""
    scores = gold_of(task)
    differences = scores.drop(columns=REFERENCE).sub(scores[REFERENCE], axis=0) * signs_of(task).drop(
        REFERENCE
    )
    return pd.DataFrame({"effect": differences.mean(), "se": differences.sem(), "n": differences.count()})


def resampled(task: str, replicates: int, seed: int, *, placebos: bool) -> tuple[Outcome, np.ndarray]:
    """Races on gold runs, and the true effects `[k + 1]` (the placebo's last). `placebos`: all arms are the baseline, on seeds
    of their own."""
    draw = np.random.default_rng([seed, placebos])
    scores = gold_of(task)
    reference, arms = scores[REFERENCE].to_numpy(), scores.drop(columns=REFERENCE).to_numpy().T
    racing = Racing.up_to(PAIRS)
    count = racing.reference_runs(len(racing.pairs) - 1, len(arms) + 1)
    places = draw.integers(len(reference), size=(replicates, count))
    apart = reference[draw.integers(len(reference), size=(replicates, PAIRS))]
    if placebos:
        values = reference[draw.integers(len(reference), size=(replicates, len(arms), PAIRS))]
        truth = np.zeros(len(arms) + 1)
    else:
        values = np.moveaxis(arms[:, places[:, :PAIRS]], 0, 1)
        truth = np.append(arms.mean(axis=1) - reference.mean(), 0.0)
    return replay_many(values, apart, reference[places], racing, TASKS[task].margin), truth


def resampled_figures(task: str, replicates: int) -> list[Figure]:
    outcome, truth = resampled(task, replicates, 0, placebos=False)
    placebos, _ = resampled(task, replicates, 1, placebos=True)
    world = f"{task}, races on gold runs"
    covered = np.abs(outcome.effect - truth) <= outcome.half
    called, decided = np.abs(outcome.code) == 1, outcome.code != 2
    early = decided & (outcome.look < len(Racing.up_to(PAIRS).pairs) - 1)
    clear = np.append(np.abs(gold_effects(task)["effect"]) > 2 * gold_effects(task)["se"], False)
    wrong = called & clear & (outcome.code != np.sign(truth))
    arms = outcome.code[:, :-1]
    within = called[:, :-1] & (np.abs(outcome.effect[:, :-1]) < TASKS[task].margin)
    equal, equal_by_margin = (code[::2] == code[1::2] for code in (arms, np.where(within, 0, arms)))
    false_none = (outcome.code == 0) & (np.abs(truth) >= TASKS[task].margin)
    return [
        _share(world, "intervals that hold the gold value", covered, (COVERED, np.inf)),
        _share(world, "the same, arms decided before the last look", covered[early]),
        _share(world, "races with a verdict against the gold sign", wrong.any(axis=1), (-np.inf, 0.01)),
        _share(world, "races with “no effect” for an effect of the margin or more", false_none.any(axis=1), (-np.inf, 0.05)),
        _share(world, "arms decided", decided),
        _share(world, "equal verdicts of two races", equal),
        _share(world, "the same by the margin: “a little” and “no measurable effect” are both within it", equal_by_margin),
        Figure(world, "pairs of an arm, mean", float(outcome.pairs.mean()), outcome.pairs.size, *UNBOUNDED),
        _share(world, "A/A, all arms the baseline: races with any verdict on a no-op", (np.abs(placebos.code) == 1).any(axis=1), (-np.inf, FALSE)),
    ]  # fmt: skip


def _share(world: str, name: str, hits: np.ndarray, target: tuple[float, float] = UNBOUNDED) -> Figure:
    return Figure(world, name, float(hits.mean()) if hits.size else float("nan"), hits.size, *target)


def train(gold: GoldTask, folder: Path) -> list[dict[str, object]]:
    """The rows of every study, trained or resumed."""
    from ablate.study.driver import run_study
    from ablate.study.request import Options, find
    from ablate.study.resume import session_of

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for name, (seed, factor) in STUDIES.items():
        file = folder / f"study-{gold.task}-{seed}.toml"
        file.write_text(study_text(gold, seed=seed, rate=gold.rate * factor), encoding="utf-8")
        options = Options(folder / "studies", folder / "reports", device="cpu")
        with session_of(find(str(file), options), options) as session:
            run_study(session, options, ("rank",))
            fact = session.ledger.fact("rank")
        keys = (
            "trick",
            "effect",
            "low",
            "high",
            "verdict",
            "rate",
            "reference_rate",
            "settings",
            "pairs",
            "look",
        )
        rows += [{"study": name, **{key: row[key] for key in keys}} for row in fact["rows"]]
        print(f"{gold.task}: study {name} done", flush=True)
    return rows


def studies_figures(task: str, rows: pd.DataFrame) -> list[Figure]:
    """Coverage of the gold values, contradictions with them and between studies, agreement, verdicts on placebos."""
    gold = gold_effects(task)
    world = f"{task}, real studies"
    judged_rows = rows[rows["trick"].isin(gold.index)].copy()
    judged_rows["gold"], judged_rows["se"] = (
        judged_rows["trick"].map(gold["effect"]),
        judged_rows["trick"].map(gold["se"]),
    )
    sign = judged_rows["verdict"].map(_sign)
    # The gold value has an error of its own: a tenth of the width of an interval or less.
    half = np.hypot((judged_rows["high"] - judged_rows["low"]) / 2, 1.96 * judged_rows["se"])
    covered = (judged_rows["effect"] - judged_rows["gold"]).abs() <= half
    against = (sign * np.sign(judged_rows["gold"]) < 0) & (judged_rows["gold"].abs() > 2 * judged_rows["se"])
    table = judged_rows.assign(sign=sign).pivot(index="trick", columns="study", values="sign")
    decided = judged_rows.assign(decided=judged_rows["verdict"] != "undecided").pivot(
        index="trick", columns="study", values="decided"
    )
    pairs = list(combinations([name for name in table.columns if name.startswith("seed")], 2))
    placebo = rows[rows["trick"] == "placebo"]["verdict"].map(_sign) != 0
    turned = (table.max(axis=1) > 0) & (table.min(axis=1) < 0)
    words = judged_rows.pivot(index="trick", columns="study", values="verdict")
    directions = words.map(lambda verdict: verdict.split()[0])
    actions = words.map(
        lambda verdict: verdict if verdict in ("helps", "hurts", "undecided") else "within the margin"
    )
    equal, by_margin = (
        np.array([(kind[one] == kind[other]).to_numpy() for one, other in pairs])
        for kind in (directions, actions)
    )
    return [
        _share(world, "intervals that hold the gold value", covered.to_numpy(), (COVERED, np.inf)),
        _share(world, "verdicts against the gold sign", against.to_numpy(), (-np.inf, 0.0)),
        _share(world, "tricks called both helpful and harmful by studies at half, once and twice the rate", turned.to_numpy(), (-np.inf, 0.0)),
        _share(world, "equal verdicts of two studies with different seeds", equal, (AGREED, np.inf)),
        _share(world, "the same by the margin: “a little” and “no measurable effect” are both within it", by_margin),
        _share(world, "tricks with a verdict", decided.to_numpy().astype(bool)),
        _share(world, "placebos called", placebo.to_numpy(), (-np.inf, FALSE)),
    ]  # fmt: skip


def _sign(verdict: str) -> int:
    return {"helps": 1, "hurts": -1}.get(verdict.split()[0], 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.statistics.gold_studies", description=__doc__)
    parser.add_argument(
        "--train", nargs="*", choices=sorted(TASKS), help="train the studies of these tasks first"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--replicates", type=int, default=2000, help="resampled races a task (default 2000)")
    parser.add_argument(
        "--write", action="store_true", help="record the outcome in bench/results/validation.md"
    )
    options = parser.parse_args()
    for task in options.train or ():
        rows = train(TASKS[task], options.folder.resolve())
        with (RESULTS / f"gold-{task}-studies.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    figures = judged(options.replicates)
    table = [*HEAD, *map(_line, figures), "", *effects_table()]
    print(*table, sep="\n")
    if options.write:
        command = f"python -m bench.statistics.gold_studies --replicates {options.replicates} --write"
        put("gold", [*ABOUT.format(command=command).splitlines(), "", *table, ""])
    return 1 if any(not figure.met for figure in figures) else 0


def _line(figure: Figure) -> str:
    state = "–" if figure.target == "none" else "ok" if figure.met else "MISS"
    return f"| {figure.world} | {figure.name} | {figure.value:.3f} | {figure.target} | {figure.n} | {state} |"


def effects_table() -> list[str]:
    """The gold effects of every task, and the points at which they were measured."""
    lines = ["| task | trick | setting | rate (baseline's) | effect of having it, 95 % interval | pairs |", "|---|---|---|---:|---:|---:|"]  # fmt: skip
    for task in TASKS:
        if not (RESULTS / f"gold-{task}.csv").is_file():
            continue
        means = pd.read_csv(RESULTS / f"gold-{task}.csv").fillna({"setting": "", "rate": 0.0})
        means = means.groupby(["arm", "setting", "rate"], as_index=False)["score"].mean()
        points = means.loc[means.groupby("arm")["score"].idxmax()].set_index("arm")
        for name, row in gold_effects(task).sort_values("effect", ascending=False).iterrows():
            best, half = points.loc[name], 1.96 * row["se"]
            effect = f"{row['effect']:+.5f} ({row['effect'] - half:+.5f} to {row['effect'] + half:+.5f})"
            rates = f"{best['rate']:g} ({points.loc[REFERENCE, 'rate']:g})"
            lines.append(f"| {task} | {name} | {best['setting']} | {rates} | {effect} | {row['n']:.0f} |")
    return lines


def judged(replicates: int) -> list[Figure]:
    """The figures of every task that has gold runs."""
    figures = []
    for task in TASKS:
        if (RESULTS / f"gold-{task}.csv").is_file():
            figures += resampled_figures(task, replicates)
        if (studies := RESULTS / f"gold-{task}-studies.csv").is_file():
            figures += studies_figures(task, pd.read_csv(studies))
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
