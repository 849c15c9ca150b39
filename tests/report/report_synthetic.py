"""A made-up study, known to the last effect: facts and entries as the study's driver would write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.ranking.designs.design import Design, Factor
from ablate.ranking.designs.screening import screening
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run

TRUE_EFFECTS = {
    "batch_norm": 0.019, "translate": 0.011, "skip_connection": 0.008, "label_smoothing": 0.004,
    "weight_decay": 0.001, "ema": 0.0005, "clip_norm": 0.0, "placebo": 0.0, "warmup": -0.0005,
    "dropout": -0.006, "fgsm": -0.012,
}  # fmt: skip
SETTINGS: dict[str, dict[str, tuple[float, float, bool]]] = {
    "batch_norm": {"momentum": (0.01, 0.5, True)},
    "translate": {"pixels": (1, 3, False)},
    "skip_connection": {},
    "label_smoothing": {"eps": (0.0, 0.3, False)},
    "weight_decay": {"strength": (1e-6, 1e-1, True)},
    "ema": {"decay": (0.9, 0.999, False)},
    "clip_norm": {"limit": (0.1, 10.0, True)},
    "placebo": {},
    "warmup": {"fraction": (0.0, 0.2, False)},
    "dropout": {"p": (0.0, 0.8, False)},
    "fgsm": {"epsilon": (0.001, 0.1, True)},
}
NOISE = 0.006
CLASSES = 10


class Synthetic:
    """Facts and entries of a study called `name`; `rename` maps every string slot (for hostile strings)."""

    def __init__(
        self,
        *,
        trials: int = 60,
        waves: int = 1,
        seeds: int = 5,
        epochs: int = 20,
        stages: tuple[str, ...] = ("lr-find", "search", "rank", "confirm", "costs"),
        failing: float = 0.04,
        rename: Callable[[str], str] = str,
    ) -> None:
        self.draw = np.random.default_rng(7)
        self.epochs, self.rename, self.failing = epochs, rename, failing
        self.entries: list[Entry] = []
        self.called = {name: name if name == "placebo" else rename(name) for name in TRUE_EFFECTS}
        self.truth = {called: TRUE_EFFECTS[name] for name, called in self.called.items()}
        self.metric = f"validation/{rename('accuracy')}"
        self.on_test = "test/" + self.metric.rsplit("/", 1)[-1]
        self.facts: dict[str, Any] = {
            "study": {
                "name": rename("digits"), "task": rename("digits"), "metric": self.metric,
                "direction": "maximize", "epochs": epochs, "seed": 0,
                "file": rename('task = "digits"\nmetric = "validation/accuracy"\nepochs = 20\n'),
                "sha256": "5d0c" * 16, "command": rename("ablate study digits --trials 60"),
                "created": "2026-11-20T12:00:00Z",
            },
            "environment": {
                "ablate": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "optuna": "5.0.0",
                rename("kernel"): "6.1", "platform": rename("Linux-6.1-x86_64"), "cpu": rename("a CPU with 2 cores"), "cores": 2,
                "gpu": None, "device": "cpu", "threads": 2,
            },
            "task": {
                "name": rename("digits"), "title": rename("Handwritten digits, 8 × 8"),
                "kind": "classification", "input_shape": [1, 8, 8],
                "classes": [rename(str(digit)) for digit in range(CLASSES)],
                "splits": {"train": 1077, "validation": 360, "test": 360}, "prior_entropy": math.log(CLASSES),
                "parameters": 38634, "metric": self.metric, "direction": "maximize",
                "notes": [rename("scikit-learn's digits")],
            },
            "applicable": {**dict.fromkeys(self.truth, ""), "fgm": rename("the model has no embedding")},
            "baseline": {"momentum": {"lr": 0.05, "momentum": 0.9}},
            "timings": {},
        }  # fmt: skip
        if "lr-find" in stages:
            self._lr_find()
        if "search" in stages:
            self._search(trials)
        if "rank" in stages:
            self._rank(waves)
        if "confirm" in stages:
            self._confirm(seeds)
        if "costs" in stages:
            self.facts["costs"] = [
                {"trick": self.called[trick], "ms_per_step": 1.9 + 0.1 * i, "time_ratio": 1 + 0.04 * i * i / 10,
                 "memory_ratio": 1 + 0.02 * i, "inference_ratio": 1.0, "n": 5}
                for i, trick in enumerate(TRUE_EFFECTS) if trick != "placebo"
            ]  # fmt: skip

    def write(self, path: Path) -> Path:
        """The study as a real ledger."""
        with Ledger.open(path, write=True) as ledger:
            for key, document in self.facts.items():
                ledger.put(key, document)
            ledger.record(self.entries)
        return path

    def train(self, recipe: Recipe, seed: int, stage: str, *, lr: float = 0.05, **place: Any) -> Entry:
        """A run with the true effects, noise of 0.6 pp, learning curves and now and then a divergence."""
        noise = self.draw.normal(0, NOISE, 2)
        level = 0.948 + sum(self.truth.get(name, 0.0) for name in recipe)
        level -= 0.01 * max(0.0, abs(math.log10(lr / 0.3)) - 0.3)
        final = 1 - (1 - min(level, 0.995)) * math.exp(float(noise[0]) * 22)
        failed = self.draw.random() < self.failing
        pruned = stage == "search" and not failed and self.draw.random() < 0.3
        epochs = int(self.draw.integers(2, 6)) if failed else self.epochs // 3 if pruned else self.epochs
        steps = np.arange(1, epochs + 1)
        rise = 1 - 0.85 * np.exp(-steps / 3.0)
        accuracy = final * rise + self.draw.normal(0, 0.004, epochs)
        loss = 2.3 * np.exp(-steps / 2.5) + (1 - final) * 3 + np.abs(self.draw.normal(0, 0.01, epochs))
        outcome = Outcome.DIVERGED if failed else Outcome.PRUNED if pruned else Outcome.COMPLETE
        metrics = {} if failed else {
            self.metric: float(accuracy[-1] if pruned else final), "validation/loss": float(loss[-1]),
            "train/loss": float(loss[-1] * 0.6),
        }  # fmt: skip
        if stage == "confirm" and not failed:
            metrics[self.on_test] = final + float(noise[1]) * 0.5
            metrics["test/loss"] = float(loss[-1] * 1.05)
        result = Result(
            outcome=outcome, metrics=metrics,
            curves={self.metric: tuple(map(float, accuracy)), "validation/loss": tuple(map(float, loss)),
                    "train/loss": tuple(map(float, loss * 0.6))},
            epochs=epochs, seconds=epochs * 0.03, note=self.rename("loss is NaN at step 57") if failed else "",
        )  # fmt: skip
        entry = Entry(Run(self.facts["study"]["task"], recipe, seed, self.epochs), result, stage, **place)
        self.entries.append(entry)
        return entry

    def recipe(self, tricks: Mapping[str, Any], lr: float = 0.05) -> Recipe:
        named = {self.called[name]: settings for name, settings in tricks.items()}
        return Recipe({"momentum": {"lr": lr, "momentum": 0.9}, **named})

    def _lr_find(self) -> None:
        rates = np.logspace(-5, 1, 80)
        losses = 2.35 - 2.0 / (1 + np.exp(-(np.log10(rates) + 2) * 3)) + np.exp((np.log10(rates) - 0.4) * 6)
        steps = np.arange(60)
        cells = [
            {"learning_rate": lr, "weight_decay": wd,
             "validation/loss": 0.2 + 0.3 * abs(math.log10(lr / 0.1)) + 20 * wd,
             "validation/accuracy": 0.97 - 0.05 * abs(math.log10(lr / 0.1)) - 10 * wd}
            for lr in (0.01, 0.03, 0.1, 0.3, 1.0) for wd in (1e-4, 1e-5, 0.0)
        ]  # fmt: skip
        curve = [float(2.3 * math.exp(-i / 6) + 0.05) for i in range(20)]
        names = [self.rename("initial loss"), "over-fit a small sample", "a rate that makes the loss drop", "coarse grid",
                 "fine grid", "look at the curves"]  # fmt: skip
        figures: list[dict[str, Any]] = [
            {"loss": 2.317, "expected": math.log(CLASSES), "ratio": 1.006},
            {"rates": [0.01, 0.1, 1.0], "curves": {f"{rate:g}": [float(2.3 * math.exp(-i * rate / 3)) for i in steps]
                                                  for rate in (0.01, 0.1, 1.0)}, "loss_inputs_zeroed": 2.29},
            {"lr": rates.tolist(), "loss": losses.tolist(),
             "suggestions": {self.rename("steepest"): 0.02, "valley": 0.05, "minimum/10": 0.1}},
            {"cells": cells}, {"cells": cells[3:9]},
            {"curves": {self.rename("train/loss"): [value * 0.6 for value in curve], "validation/loss": curve}},
        ]  # fmt: skip
        verdicts = ["pass", "pass", "pass", "warn", "pass", "pass"]
        self.facts["lr-find"] = {
            "task": self.rename("digits"), "device": "cpu", "learning_rate": 0.1, "weight_decay": 1e-4,
            "steps": [
                {"step": i + 1, "name": names[i], "verdict": verdicts[i], "figures": figures[i],
                 "findings": [{"code": "still-falling", "message": self.rename("validation loss still falls"),
                               "where": self.rename("epoch 20"), "advice": self.rename("train longer")}] if i == 3 else []}
                for i in range(6)
            ],
        }  # fmt: skip
        self.facts["timings"]["lr-find"] = 21.4

    def _settings(self, name: str) -> dict[str, Any]:
        settings = {}
        for parameter, (low, high, log) in SETTINGS[name].items():
            place = self.draw.random()
            value = low * (high / low) ** place if log else low + (high - low) * place
            settings[parameter] = round(value) if parameter == "pixels" else float(value)
        return settings

    def _search(self, trials: int) -> None:
        for trial in range(trials):
            eager = trial / trials
            chosen = {
                name: self._settings(name)
                for name, effect in TRUE_EFFECTS.items()
                if name != "placebo" and self.draw.random() < 0.5 + np.sign(effect) * 0.35 * eager
            }
            lr = float(10 ** self.draw.uniform(-3 + 2.5 * eager, 0.0))
            self.train(self.recipe(chosen, lr), 0, "search", lr=lr, trial=trial)
        done = [e for e in self.entries if e.stage == "search" and e.result.outcome is Outcome.COMPLETE]
        if not done:
            return
        done.sort(key=lambda entry: -entry.result.metrics[self.metric])
        best = done[0]
        for place, finalist in enumerate(done[:3]):
            for seed in (901, 902, 903):
                self.train(finalist.run.recipe, seed, "select", arm=self.rename(f"finalist {place + 1}"))
        self.facts["search"] = {
            "trials": trials, "sampler": self.rename("tpe"), "pruner": "successive-halving", "seconds": 61.0,
            "best": {"trial": best.trial, "recipe": best.run.recipe.to_dict(),
                     "value": best.result.metrics[self.metric]},
            "space": [{"name": "momentum.lr", "low": 1e-3, "high": 1.0, "log": True, "choices": []}]
            + [{"name": f"{self.called[name]}.{parameter}", "low": low, "high": high, "log": log, "choices": []}
               for name, parameters in SETTINGS.items() for parameter, (low, high, log) in parameters.items()],
        }  # fmt: skip
        self.facts["timings"]["search"] = 61.0

    def _rank(self, waves: int) -> None:
        factors = tuple(Factor(name) for name in self.truth)
        true = {called: name for name, called in self.called.items()}
        around = {name: self._settings(name) for name, effect in TRUE_EFFECTS.items() if effect > 0}
        rows, listed = [], []
        for wave in range(1, waves + 1):
            for row in screening(factors, wave=wave, seed=3).rows:
                on = {true[name]: {} for name, level in row.levels.items() if level == "on"}
                entry = self.train(self.recipe(on), row.seed, "rank", wave=wave)
                rows.append(row)
                listed.append({"identity": entry.identity, "levels": dict(row.levels), "seed": row.seed,
                               "block": row.block, "wave": wave})  # fmt: skip
        self.facts["rank"] = {
            "around": self.recipe(around, 0.1).to_dict(),
            "design": Design("screening", factors, tuple(rows), "Hadamard order 12 and foldover, seed 3").to_json(),
            "left_out": {self.rename("amp"): self.rename("a cost trick")}, "margin": 0.005,
            "margin_source": self.rename("study file"), "alpha": 0.0221, "looks": 3, "waves": waves, "rows": listed,
        }  # fmt: skip
        self.facts["timings"]["rank"] = 48.2

    def _confirm(self, seeds: int) -> None:
        winner = {name: {} for name, effect in TRUE_EFFECTS.items() if effect > 0}
        arms = {"winner": self.recipe(winner), "baseline": self.recipe({})}
        for name in ("batch_norm", "translate", "skip_connection"):
            called = self.called[name]
            arms[f"without {called}"] = arms["winner"].without(called)
        for seed in range(1000, 1000 + seeds):
            for arm, recipe in arms.items():
                self.train(recipe, seed, "confirm", arm=arm)
        self.facts["confirm"] = {
            "arms": {name: recipe.to_dict() for name, recipe in arms.items()},
            "seeds": list(range(1000, 1000 + seeds)),
        }
        self.facts["timings"]["confirm"] = 17.0
