"""The documents of a small study's ledger, as its driver writes them: what `files` offers to be forged."""

from __future__ import annotations

from typing import Any

BASELINE = {"momentum": {"lr": 0.1}, "weight_decay": {"decay": 0.0005}}
RECIPE = {"momentum": {"lr": 0.05}, "batch_norm": {"eps": 1e-05}}
GAIN = {"effect": 0.03, "low": 0.02, "high": 0.04, "pairs": 12}


def effect(trick: str, estimand: str, verdict: str) -> dict[str, Any]:
    """A row of the ranking."""
    return {
        "arm": f"{estimand}: {trick}", "trick": trick, "estimand": estimand, "effect": 0.03, "low": 0.02, "high": 0.04, "se": 0.002,
        "df": 9.0, "p": 0.01, "p_adjusted": 0.02, "verdict": verdict, "in_recipe": estimand == "toggle", "settings": "", "against": "without it",
        "rate": 0.1, "reference_rate": 0.05, "pairs": 12, "look": 1, "same": False, "runs": 12, "failed": 0, "seconds": 1.0,
        "more_pairs": 9 if verdict == "undecided" else None, "recipe_with": RECIPE, "recipe_without": BASELINE, "seeds": [1, 2],
    }  # fmt: skip


def tuned(rate: float) -> list[dict[str, Any]]:
    """The points of an arm."""
    return [
        {"recipe": RECIPE, "rate": rate, "scores": [0.9], "final": [0.91], "seeds": [1], "chosen": True, "loss": 0.3},
        {"recipe": RECIPE, "rate": rate / 2, "scores": [0.8], "final": [], "seeds": [], "chosen": False, "loss": 0.4},
    ]  # fmt: skip


FACTS: dict[str, Any] = {
    "study": {
        "name": "tiny", "given": "tiny.toml", "named": "", "task": "tiny.py:task", "metric": "validation/accuracy", "direction": "maximize",
        "epochs": 2, "seed": 0, "file": "", "sha256": "", "essential": "", "command": "ablate study tiny.toml", "created": "2026-11-20",
    },
    "task": {
        "name": "tiny", "title": "tiny", "criterion": "classification", "kind": "classification", "source": "tiny.py:task",
        "source_sha256": "", "data_sha256": "", "definition": {"structure": "", "code": ""}, "input_shape": [4], "outputs": 2,
        "classes": 2, "labels": ["a", "b"], "splits": {"train": 60, "validation": 20, "test": 20}, "metric": "validation/accuracy",
        "direction": "maximize", "epochs": 2, "batch_size": 16, "parameters": 58, "prior_loss": 0.69, "notes": ["a note"],
    },
    "environment": {"ablate": "0.1.0", "python": "3.11", "torch": "2.13.0", "platform": "Linux", "cores": 2, "gpu": None, "device": "cpu"},
    "kernel": {"kernel": "loop", "lanes": 8, "source": "measured", "timings": [{"kernel": "loop", "lanes": 8, "seconds": 0.1, "bytes": 9}]},
    "applicable": {"dropout": "", "fgm": "the model has no embedding"},
    "surgery": {
        "held": {"layers": {"norm": {"BatchNorm2d": 1}}, "out_of_reach": {}, "residual_additions": 0, "weight_norms": {}, "text": "a norm"},
        "tricks": {"dropout": {"touched": 1, "left": [["head", 1]], "text": "one layer"}},
    },
    "budget": {"asked": "2m", "rank": "60s", "later": 3.0, "fit": {"trials": 8, "left_out": {}, "words": "", "every": 1.0}, "late": ["ema"]},
    "lr-find": {
        "task": "tiny", "device": "cpu", "optimizer": "momentum", "complete": True, "learning_rate": 0.05, "weight_decay": None,
        "steps": [
            {"step": 1, "name": "initial loss", "verdict": "pass", "findings": [],
             "figures": {"initial_loss": 0.7, "expected": 0.69, "ratio": 1.0, "by_seed": {"0": 0.7}, "prior": 0.69}},
            {"step": 4, "name": "range test", "verdict": "warn", "findings": [{"code": "x", "message": "a finding", "advice": "", "where": ""}],
             "figures": {"lr": [0.01, 0.1], "loss": [0.7, 0.5], "suggestions": {"steepest": 0.05}, "drops": {"0.1": 0.2, "1": None}, "rate": 0.05}},
            {"step": 6, "name": "curves", "verdict": "pass", "findings": [],
             "figures": {"curves": {"train/loss": [0.7, 0.5]}, "cells": [{"learning_rate": 0.05, "weight_decay": 0.0, "outcome": "complete"}]}},
        ],
    },
    "timings": {"lr-find": 1.0, "search": 2.0},
    "baseline": BASELINE,
    "search": {
        "trials": 8, "done": 8, "sampler": "tpe", "pruner": "none", "generation": 8, "lanes": 8, "groups": 1, "mean_lanes": 8.0,
        "outcomes": {"complete": 8},
        "space": [{"name": "dropout", "choices": [False, True], "low": 0.0, "high": 0.0, "log": False, "integer": False, "structural": False},
                  {"name": "dropout.p", "choices": [], "low": 0.0, "high": 0.8, "log": False, "integer": False, "structural": False}],
        "best": {"trial": 3, "recipe": RECIPE, "value": 0.9, "seeds": 1, "removed": ["ema"], "whole": RECIPE},
    },
    "rank": {
        "kind": "tuned", "around": RECIPE, "baseline": BASELINE, "metric": "validation/accuracy", "margin": 0.01, "margin_source": "study file",
        "resplit": True, "complete": True, "edges": ["toggle: batch_norm"], "spent": {"tuning": 40, "race": 200}, "fit": {}, "late": {},
        "budget": {"tuning": {"first": 3, "finalists": 1, "repeats": 0, "rounds": 0}, "runs": 300, "asked": "", "seconds_per_run": 1.0,
                   "racing": {"pairs": [6, 12], "alpha": 0.05, "levels": [0.02, 0.03]}},
        "left_out": {"add-one": {"momentum": "the optimizer of the baseline"}},
        "tuning": {"add-one: baseline": tuned(0.1), "toggle: recipe": tuned(0.05)},
        "races": [{"estimand": "add-one", "scored": "mean of the last evaluations", "family": 4, "sigma": 0.01}],
        "rows": [effect("placebo", "add-one", "no measurable effect"), effect("batch_norm", "toggle", "helps"),
                 effect("weight_decay", "add-one", "undecided")],
        "lean": {"removed": ["ema"], "added": [], "recipe": RECIPE},
        "ladder": {"levels": [0.92, 0.95], "baseline": BASELINE, "total": GAIN,
                   "steps": [{"trick": "batch_norm", "change": "added", "settings": "", "rate": 0.05, "recipe": RECIPE, **GAIN}]},
        "recommended": {"recipe": RECIPE, "is_baseline": False, "gain": GAIN},
    },
    "confirm": {"arms": {"winner": RECIPE, "baseline": BASELINE}, "seeds": [1, 2]},
    "costs": [{"trick": "dropout", "ms_per_step": 1.9, "time_ratio": 1.1, "memory_ratio": None, "inference_ratio": 1.0, "n": 5}],
    "tricks": [{"optimizer": "torch.optim.NAdam"},
               {"path": "own.py", "sha256": "", "source": "\nTRICK = Trick('own', 'Own', 'data', (Claim('accuracy', 'up', 'x', Source('x', 'y', 2020)),))"}],
}  # fmt: skip
