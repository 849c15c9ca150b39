"""`python -m bench.quality`: the result of a search in equal wall time, against Optuna with one trial at a time.

Both sides search the space of `bench.plain.SHARED` for the same seconds, as separate processes with all their
start-up: `ablate study --stages search` with successive halving (two workers of one thread), and a loop of Optuna's
TPE with its MedianPruner (torch's default threads), taken in turn. Then, off the clock, each side's three best
trials are trained again on two fresh seeds, the best mean is chosen, and the chosen recipe is trained on three
further seeds, whose mean validation accuracy is the result: unbiased, and the same procedure on both sides.

Results are written line by line; a second call resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import optuna
import torch

from ablate.tasks.load import load
from bench import common
from bench.plain import SPACE, suggest
from bench.plain import train as train_plain

TASKS = {"digits": 200, "breast-cancer": 400, "fashion": 100}
"""Task -> trials requested of our side: more than it can train in the time."""
FASHION = """
from ablate.tasks.load import load
from ablate.tasks.task import Task

whole = load("fashion-mnist")
task = Task(
    whole.model, (whole.train.x[:2000], whole.train.y[:2000]), (whole.validation.x[:2000], whole.validation.y[:2000]),
    False, epochs=5, batch_size=64, name="fashion", flips=True,
)
"""
STUDY = """\
task = "{task}"
metric = "validation/accuracy"
seed = {seed}
{space}
[search]
trials = {trials}
"""
FINALISTS, REPEATS, FURTHER = 3, 2, 3
Row = dict[str, Any]


def reference(task: str, folder: Path) -> str:
    """What to load: a built-in task, or the first 2,000 images of Fashion-MNIST as a task file in `folder`."""
    if task != "fashion":
        return task
    file = folder / "fashion.py"
    file.write_text(FASHION, encoding="utf-8")
    return f"{file}:task"


def best_of(
    candidates: Sequence[tuple[float, Any]],
    again: Callable[[Sequence[Any], Sequence[int]], list[list[float]]],
) -> float:
    """The mean on further fresh seeds of the best candidate; NaN where no trial was completed. `again`: recipes, seeds -> accuracies [recipe][seed]."""
    if not candidates:
        return float("nan")
    best = [recipe for _, recipe in sorted(candidates, key=lambda pair: -pair[0])[:FINALISTS]]
    means = [fmean(repeats) for repeats in again(best, range(10_000, 10_000 + REPEATS))]
    winner = best[means.index(max(means))]
    return fmean(again([winner], range(20_000, 20_000 + FURTHER))[0])


def plain_loop(given: str, seed: int, seconds: float, out: Path, device: str) -> None:
    """The other side's process: ends itself after `seconds`, counted from the start of the process."""
    began = time.time() - float(os.environ.get("BENCH_BEGAN", time.time()))
    end = time.monotonic() + seconds - max(0.0, began)
    task = load(given)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=task.epochs // 4),
    )

    def objective(trial: optuna.Trial) -> float:
        args = suggest(trial, task)

        def watch(epoch: int, accuracy: float) -> None:
            if time.monotonic() > end:
                raise KeyboardInterrupt
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        accuracy = train_plain(task, args, seed * 1000 + trial.number, watch, torch.device(device))
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps([accuracy, args]) + "\n")
        return accuracy

    try:
        study.optimize(objective)
    except KeyboardInterrupt:
        print(len(study.trials))


def plain_side(given: str, seed: int, seconds: float, folder: Path, device: torch.device) -> Row:
    out = folder / f"plain-{Path(given).stem}-{seed}-{time.time_ns()}.jsonl"
    out.touch()
    call = f"from pathlib import Path; from bench.quality import plain_loop; plain_loop({given!r}, {seed}, {seconds}, Path({str(out)!r}), {str(device)!r})"
    done = subprocess.run(
        [sys.executable, "-c", call],
        check=True, capture_output=True, text=True, env={**os.environ, "BENCH_BEGAN": str(time.time())},
    )  # fmt: skip
    task = load(given)
    complete = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    def again(recipes: Sequence[Any], seeds: Sequence[int]) -> list[list[float]]:
        return [[train_plain(task, args, seed, device=device) for seed in seeds] for args in recipes]

    return {"trials": int(done.stdout), "complete": len(complete), "accuracy": best_of(complete, again)}


def ablate_side(
    given: str, task_name: str, seed: int, seconds: float, folder: Path, trials: int, device: torch.device
) -> Row:
    """Our side: the study is killed when its time is up; what it has recorded counts."""
    from ablate.catalogue.registry import registry
    from ablate.lanes.context import TaskContext
    from ablate.lanes.group import grouped
    from ablate.lanes.train import train
    from ablate.ledger.store import Ledger
    from ablate.records.run import Outcome, Run

    name = f"{task_name}-{seed}-{time.time_ns()}"
    file = folder / f"{name}.toml"
    file.write_text(STUDY.format(task=given, seed=seed, space=SPACE, trials=trials), encoding="utf-8")
    command = [
        "study",
        str(file),
        "--stages",
        "search",
        "--device",
        str(device),
        "--studies",
        str(folder),
        "--out",
        str(folder),
        "--quiet",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "ablate.cli.app", *command],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    task = load(given)
    with Ledger.open(folder / f"{name}.db", write=False) as ledger:
        entries = [entry for entry in ledger.entries(scores=False) if entry.stage == "search"]
    complete = [
        (entry.result.metrics["validation/accuracy"], entry.run.recipe)
        for entry in entries
        if entry.result.outcome is Outcome.COMPLETE
    ]
    torch.set_num_threads(1)
    context = TaskContext.of(task, registry(), device)

    def again(recipes: Sequence[Any], seeds: Sequence[int]) -> list[list[float]]:
        runs = [Run(task.name, recipe, seed, task.epochs) for recipe in recipes for seed in seeds]
        accuracies = {}
        for group in grouped(dict.fromkeys(runs), context.catalogue, 16):
            for run, result in zip(group, train(context, group), strict=True):
                accuracies[run.identity] = result.metrics["validation/accuracy"]
        flat = [accuracies[run.identity] for run in runs]
        return [flat[i * len(seeds) : (i + 1) * len(seeds)] for i in range(len(recipes))]

    return {"trials": len(entries), "complete": len(complete), "accuracy": best_of(complete, again)}


def measure(
    folder: Path, tasks: Sequence[str], seeds: int, seconds: float, device: torch.device
) -> list[Row]:
    """Every (seed, task, side) once; what the folder's file holds of this kind of device is not measured again."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "quality.jsonl"
    rows: list[Row] = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    rows = [row for row in rows if row.get("device", "cpu") == device.type]
    known = {(row["task"], row["seed"], row["side"], row["seconds"]) for row in rows}
    for seed in range(seeds):
        for task in tasks:
            given = reference(task, folder)
            for side in ("plain", "ablate"):
                if (task, seed, side, seconds) in known:
                    continue
                if side == "plain":
                    figures = plain_side(given, seed, seconds, folder, device)
                else:
                    figures = ablate_side(given, task, seed, seconds, folder, TASKS[task], device)
                about = {"task": task, "seed": seed, "side": side, "seconds": seconds, "device": device.type}
                row = {**about, **figures}
                rows.append(row)
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    return [row for row in rows if row["seconds"] == seconds and row["task"] in tasks and row["seed"] < seeds]


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| task | side | accuracy (median of seeds; all) | trials begun | complete | n |",
        "|---|---|---|---|---|---|",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        for side in ("plain", "ablate"):
            selected = [row for row in rows if row["task"] == task and row["side"] == side]
            accuracies = [row["accuracy"] for row in selected]
            every = ", ".join(f"{one:.4f}" for one in sorted(accuracies))
            lines.append(
                f"| {task} | {side} | {median(accuracies):.4f} ({every}) | {median(r['trials'] for r in selected):g} "
                f"| {median(r['complete'] for r in selected):g} | {len(selected)} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--folder", type=Path, default=Path("studies/bench-quality"))
    common.add_device(parser)
    args = parser.parse_args()
    device = common.device_of_option(args.device)
    tasks = [name for name in args.tasks if name != "fashion" or os.environ.get("ABLATE_DATA")]
    if tasks != args.tasks:
        print("fashion is left out: ABLATE_DATA does not name a folder with fashion_mnist.npz")
    print(common.hardware(device))
    print(table(measure(args.folder, tasks, args.seeds, args.seconds, device)))


if __name__ == "__main__":
    main()
