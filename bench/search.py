"""`python -m bench.search --overhead`: the cost of Optuna and the ledger per trial. `--regret`: the quality of the search.

Both on a synthetic objective (bench/objective.py) over the whole space of digits, through the real suggester and, for
the overhead, the real ledger, used as a study uses them. Times are CPU seconds of this process: nothing is trained, and
`--device` only sets the size of generations, which are larger on a GPU.

`--regret` compares, on the same objectives: the search; a baseline with one fit per parameter and trial,
generations of 20 and groups of 10; Optuna's TPE one trial at a time, told every result at once; and random search. As in
a study, the five best observed are observed three times more and the best mean is chosen; regret is how far the chosen
recipe's true value is below the best known.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev

import numpy as np
import optuna
import torch
from optuna.samplers import TPESampler

from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.search.generation_size import generation_size
from ablate.search.generations import LAG, Suggester, Suggestion
from ablate.search.observations import TrialResult
from bench import common
from bench.objective import NOISE, Objective, whole_space

EPOCHS, EXAMPLES = 12, 360
MARKS = (50, 100, 200, 300)
FINALISTS, REPEATS = 5, 3


@dataclass
class Trials:
    """What a search tried: recipes and observed values (None: diverged), in the order of their numbers."""

    objective: Objective
    recipes: list[Recipe]
    values: list[float | None]
    noise: np.random.Generator

    def observe(self, recipe: Recipe) -> float | None:
        """One noisy evaluation."""
        noise = NOISE * float(self.noise.normal())
        value = None if self.objective.diverges(recipe) else self.objective.value(recipe) + noise
        self.recipes.append(recipe)
        self.values.append(value)
        return value

    def regret(self, trials: int) -> float:
        """Regret of the recipe chosen from the first `trials`."""
        known = [n for n in range(trials) if self.values[n] is not None]
        top = sorted(known, key=lambda n: -(self.values[n] or 0.0))[:FINALISTS]
        again = np.random.default_rng([self.objective.seed, trials])
        truth = [self.objective.value(self.recipes[n]) for n in top]
        means = [value + NOISE * float(again.normal(size=REPEATS).mean()) for value in truth]
        return self.objective.best() - truth[int(np.argmax(means))]


class Before(Suggester):
    """The suggester as it was: Optuna is asked parameter by parameter, and remembers what it suggested."""

    def _from_tpe(self, number: int, history: dict[int, TrialResult]) -> list[dict[str, object]]:  # type: ignore[override]
        study = self.study(history)
        study.sampler = TPESampler(seed=self.seed * 1000 + number, n_startup_trials=1)
        drawn: list[dict[str, object]] = []
        for i in range(self.size):
            study.enqueue_trial(self._structure(drawn, i))  # type: ignore[arg-type]
            drawn.append(dict(self._suggested(study.ask())))
        return drawn


def result_of(value: float | None, params: dict[str, object]) -> TrialResult:
    outcome = Outcome.DIVERGED if value is None else Outcome.COMPLETE
    return TrialResult(value, outcome, params)  # type: ignore[arg-type]


def begun(seed: int) -> Trials:
    return Trials(Objective(whole_space(), seed), [], [], np.random.default_rng([seed, 1]))


def in_generations(make: Callable[[int], Suggester]) -> Callable[[int, int], Trials]:
    def search(seed: int, trials: int) -> Trials:
        ask, objective, results = make(seed), begun(seed), dict[int, TrialResult]()
        for number in range(-(-trials // ask.size)):
            for one in ask.generation(number, results):
                results[one.number] = result_of(objective.observe(one.recipe), dict(one.params))
        return objective

    return search


def one_at_a_time(seed: int, trials: int) -> Trials:
    """Optuna as its documentation shows it: define by run, told at once."""
    ask, objective = Suggester(whole_space(), seed=seed, higher_is_better=True), begun(seed)
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed))
    for number in range(trials):
        trial = study.ask()
        value = objective.observe(ask._suggestion(number + 1, ask._suggested(trial)).recipe)
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)
    return objective


def suggester(
    seed: int, *, sampler: str = "tpe", trials: int = 100, kernel: str = "loop", device: str = "cpu"
) -> Suggester:
    sizes = generation_size(kernel, device, trials)
    return Suggester(
        whole_space(), seed=seed, higher_is_better=True, sampler=sampler, generation=sizes.generation,
        lanes=sizes.lanes,
    )  # fmt: skip


SIDES: dict[str, Callable[[int, int], Trials]] = {
    "ablate, loop kernel (generations of 10, groups of 5)": in_generations(suggester),
    "ablate, vmap kernel (generations and groups of 16)": in_generations(
        lambda s: suggester(s, kernel="vmap")
    ),
    "ablate as it was (20, groups of 10, a fit a parameter)": in_generations(
        lambda s: Before(whole_space(), seed=s, higher_is_better=True, generation=20, lanes=10)
    ),
    "Optuna TPE, one at a time": one_at_a_time,
    "random": in_generations(lambda s: suggester(s, sampler="random")),
}


def regrets(seeds: int) -> Iterator[str]:
    """The table's rows, one a side: mean regret ± standard error after so many trials, and ms CPU a trial."""
    yield f"| search | {' | '.join(f'{mark} trials' for mark in MARKS)} | ms a trial | n |"
    yield "|" + "---|" * (len(MARKS) + 3)
    for name, search in SIDES.items():
        rows, times = [], []
        for seed in range(seeds):
            started = time.process_time()
            result = search(seed, MARKS[-1])
            times.append((time.process_time() - started) / len(result.values))
            rows.append([result.regret(mark) for mark in MARKS])
        columns = [list(column) for column in zip(*rows, strict=True)]
        cells = [f"{fmean(column):.2f} ± {stdev(column) / seeds**0.5:.2f}" for column in columns]
        yield f"| {name} | {' | '.join(cells)} | {1e3 * median(times):.1f} | {seeds} |"


@dataclass
class Overhead:
    """CPU seconds for so many trials."""

    trials: int
    sampling: float = 0.0
    ledger: float = 0.0


def overhead(trials: int, seed: int, kernel: str = "loop", device: str = "cpu") -> Overhead:
    """A search as `study.search` runs it, with nothing trained: asked, submitted, recorded, collected."""
    ask = suggester(seed, trials=trials, kernel=kernel, device=device)
    objective, results = begun(seed), dict[int, TrialResult]()
    spent, plans = Overhead(trials), list[list[Suggestion]]()
    curve = tuple(np.linspace(0.5, 0.9, EPOCHS).tolist())
    scores = tuple(np.random.default_rng(seed).random(EXAMPLES).tolist())
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger.open(Path(folder) / "bench.db", write=True) as ledger,
    ):

        def collect(plan: list[Suggestion]) -> None:
            identities = {run_of(one).identity for one in plan}
            assert ledger.finished() >= identities
            for one in plan:
                entry = ledger.get(run_of(one).identity)
                assert entry is not None
                value = (
                    None
                    if entry.result.outcome is Outcome.DIVERGED
                    else entry.result.metrics["validation/accuracy"]
                )
                results[one.number] = result_of(value, dict(one.params))

        for number in range(-(-trials // ask.size)):
            started = time.process_time()
            if number >= LAG:
                collect(plans[number - LAG])
            spent.ledger += time.process_time() - started
            started = time.process_time()
            plan = ask.generation(number, results)[: trials - number * ask.size]
            spent.sampling += time.process_time() - started
            plans.append(plan)
            entries = [entry_of(one, objective.observe(one.recipe), curve, scores) for one in plan]
            started = time.process_time()
            ledger.finished()
            for start in range(0, len(entries), ask.lanes):
                ledger.record(entries[start : start + ask.lanes])
            spent.ledger += time.process_time() - started
        started = time.process_time()
        collect([one for plan in plans for one in plan])
        spent.ledger += time.process_time() - started
    return spent


def run_of(one: Suggestion) -> Run:
    return Run("digits", one.recipe, one.seed, EPOCHS)


def entry_of(
    one: Suggestion, value: float | None, curve: tuple[float, ...], scores: tuple[float, ...]
) -> Entry:
    """What a run of digits leaves behind: four metrics, their curves, a score for every validation example."""
    names = ("validation/accuracy", "validation/log_loss", "train/loss", "train/accuracy")
    outcome = Outcome.DIVERGED if value is None else Outcome.COMPLETE
    metrics = dict.fromkeys(names, float("nan") if value is None else value)
    result = Result(
        outcome, metrics=metrics, curves=dict.fromkeys(names, curve), scores={"validation": scores}, epochs=EPOCHS,
        seconds=1.0,
    )  # fmt: skip
    return Entry(run_of(one), result, "search", 0, one.number)


def overheads(trials: int, repeats: int, device: str) -> Iterator[str]:
    yield "left out: waiting for the disk, and building lanes"
    for kernel in ("loop", "vmap"):
        results = [overhead(trials, seed, kernel, device) for seed in range(repeats)]
        sampling, ledger, both = (
            1e3 * median(values) / trials
            for values in zip(*((o.sampling, o.ledger, o.sampling + o.ledger) for o in results), strict=True)
        )
        size = generation_size(kernel, device, trials)
        yield (
            f"overhead, {trials} trials, {kernel} kernel (generations of {size.generation}): sampling {sampling:.2f} + "
            f"ledger {ledger:.2f} = {both:.2f} ms CPU a trial (target 5; median of {repeats})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--regret", action="store_true")
    parser.add_argument("--trials", type=int, default=1000, help="of the overhead")
    parser.add_argument("--repeats", type=int, default=3, help="of the overhead")
    parser.add_argument("--seeds", type=int, default=20, help="objectives of the regret")
    common.add_device(parser)
    args = parser.parse_args()
    device = common.device_of_option(args.device)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(common.hardware(device))
    if args.overhead or not args.regret:
        for line in overheads(args.trials, args.repeats, device.type):
            print(line, flush=True)
    if args.regret:
        for line in regrets(args.seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
