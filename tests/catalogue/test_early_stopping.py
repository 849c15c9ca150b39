"""Early stopping against a walk through the epochs, one lane at a time; and whole runs that stop."""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf

import torch
from sweep import sweep

from ablate.catalogue.evaluation.early_stopping import TRICK, choose
from ablate.lanes.train import train
from ablate.seams.settings import Settings
from ablate.testing import suite


def settings(rows):
    lanes = [None if row is None else {"patience": row[0], "min_delta": row[1]} for row in rows]
    return Settings.stack(TRICK, lanes, torch.device("cpu"), torch.float64)


def walked(losses, patience, min_delta):
    """(best epoch, stops now) of one lane's losses: a person with a pencil."""
    if patience == inf:
        return len(losses) - 1, False
    record, best, without = None, 0, 0
    for epoch, loss in enumerate(losses):
        if record is None or record - loss > min_delta:
            record, best, without = loss, epoch, 0
        else:
            without += 1
    return best, without > 0 and without >= patience


@sweep("seed", range(100))
def test_best_epoch_and_stop_are_those_of_a_walk(seed):
    # Sixteenths, so that losses tie, and a fall equals min_delta exactly, often.
    draw = random.Random(seed)
    lanes, epochs = draw.randint(1, 5), draw.randint(1, 12)
    rows = [(draw.choice([0, 1, 2, 3, 5, inf]), draw.choice([0.0, 1 / 16, 0.125])) for _ in range(lanes)]
    ages = [draw.randint(1, epochs) for _ in range(lanes)]
    ages[0] = epochs
    losses = [[draw.randint(1, 16) / 16 for _ in range(age)] for age in ages]
    history = torch.tensor([[inf] * (epochs - len(row)) + row for row in losses], dtype=torch.float64)
    best, stop = choose(history, settings(rows))
    for lane in range(lanes):
        expected, stops = walked(losses[lane], *rows[lane])
        assert best[lane].item() - (epochs - ages[lane]) == expected
        assert stop[lane].item() is stops


def test_neutral_scores_the_last_epoch_and_never_stops():
    history = torch.arange(1.0, 31.0, dtype=torch.float64).repeat(2, 1)
    best, stop = choose(history, settings([(inf, 0.0), None]))
    assert best.tolist() == [29, 29]
    assert stop.tolist() == [False, False]


def test_lanes_stop_each_at_its_own_time_and_are_scored_at_their_best_epoch():
    checks = suite()
    context = checks.contexts["table"]
    momentum = {"momentum": {"lr": 0.5, "momentum": 0.9}}
    patiences = (1, 2, None)
    recipes = [momentum if p is None else momentum | {"early_stopping": {"patience": p}} for p in patiences]
    runs = [replace(checks.run(context, recipe, 3), epochs=15) for recipe in recipes]
    results = train(context, runs)
    whole = results[2].curves["validation/loss"]
    for result, patience in zip(results[:2], patiences[:2], strict=True):
        curve = result.curves["validation/loss"]
        assert curve == whole[: len(curve)]
        assert result.metrics["validation/loss"] == min(curve)
        ends = next((e for e in range(1, len(whole) + 1) if walked(whole[:e], patience, 0.0)[1]), len(whole))
        assert result.epochs == ends
    assert results[0].epochs < results[1].epochs < results[2].epochs == 15
    for run, result in zip(runs, results, strict=True):
        (alone,) = train(context, [run])
        assert alone.metrics == result.metrics
        assert alone.curves == result.curves
