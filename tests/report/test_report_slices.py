"""Advice to widen a range: only where there are legal values beyond it, for a trick of the recommended recipe, and in a form that a study file takes."""

import tomllib

import pandas as pd
import pytest
from tuned_synthetic import fact, tuned_data

from ablate.catalogue.registry import registry
from ablate.records.study_space import read_space
from ablate.records.table import Table
from ablate.report.collect import _describe
from ablate.report.page import render
from ablate.report.slices import slices_of
from ablate.report.verdict import search_slices

METRIC = "validation/accuracy"


def one_slice(
    name: str, low: float, high: float, best: float, used: float | None = None, *, log=False, integer=False
):
    trick, _, parameter = name.partition(".")
    record = registry()[trick].parameter(parameter)
    trials = pd.DataFrame({"outcome": ["complete"] * 3, name: [low, best, high], METRIC: [0.8, 0.9, 0.7]})
    space = [{"name": name, "low": low, "high": high, "log": log, "integer": integer}]
    recipe = {trick: {parameter: best}}
    kept = {} if used is None else {trick: {parameter: used}}
    (panel,) = slices_of(trials, space, recipe, METRIC, {name: (record.lowest, record.most)}, kept)
    return panel


@pytest.mark.parametrize(
    ("panel", "edge"),
    [
        (one_slice("mixup.alpha", 0.0, 1.0, 1.0, 0.99), "high"),
        (one_slice("mixup.alpha", 0.0, 1.0, 0.0, 0.0), ""),
        (one_slice("cutmix.p", 0.0, 1.0, 1.0, 1.0), ""),
        (one_slice("early_stopping.patience", 1, 20, 1, 1, integer=True), ""),
        (one_slice("early_stopping.patience", 1, 20, 20, 20, integer=True), "high"),
        (one_slice("weight_decay.decay", 1e-6, 1e-1, 1e-6, 1e-6, log=True), "low"),
        (one_slice("weight_decay.decay", 1e-6, 1e-1, 1e-6, None, log=True), ""),
        (one_slice("weight_decay.decay", 1e-6, 1e-1, 1e-6, 1e-3, log=True), ""),
        (one_slice("muon.momentum", 0.8, 0.99, 0.99, 0.99), "high"),
    ],
)  # fmt: skip
def test_an_edge_is_one_that_can_be_widened_and_is_recommended(panel, edge):
    assert panel.edge == edge
    if edge:
        line = panel.advice.rpartition("[space]: ")[2]
        space = read_space(Table.read(f"[space]\n{line}\n", "study.toml").table("space"), registry())
        (trick,) = space.overrides
        ((parameter, override),) = space.overrides[trick].items()
        assert f"{trick}.{parameter}" == panel.name
        wider = getattr(override, edge)
        assert wider > panel.high if edge == "high" else wider < panel.low
        assert tomllib.loads(line)


def test_the_page_names_line_and_command():
    trials = {
        "trial": [0, 1, 2],
        "stage": ["search"] * 3,
        "outcome": ["complete"] * 3,
        "mixup.alpha": [0.1, 0.5, 1.0],
    }
    space = [
        {"name": "mixup.alpha", "low": 0.0, "high": 1.0},
        {"name": "momentum.lr", "low": 0.01, "high": 0.05, "log": True},
    ]
    best = {"momentum": {"lr": 0.05}, "batch_norm": {"eps": 1e-5}, "mixup": {"alpha": 1.0}}
    document = fact()
    recommended = {**document["recommended"], "recipe": best}
    data = tuned_data(
        {**document, "recommended": recommended}, search={"space": space, "best": {"recipe": best, "trial": 2}},
        tricks={name: _describe(registry()[name]) for name in ("mixup", "momentum")},
        run_columns={**trials, "momentum.lr": [0.01, 0.02, 0.05], "run": ["a", "b", "c"], "recipe": ["r"] * 3, "seed": [0] * 3,
                     "wave": [0] * 3, "epochs": [1] * 3, "seconds": [1.0] * 3, METRIC: [0.8, 0.9, 0.95]},
        labels={"arm": [""] * 3, "note": [""] * 3, "budget": [1] * 3},
    )  # fmt: skip
    assert {panel.name: panel.edge for panel in search_slices(data)} == {
        "mixup.alpha": "high",
        "momentum.lr": "",
    }
    page = render(data).html
    assert "under [space]: mixup.alpha.high = 2" in page
    assert "ablate study digits.toml" in page
    assert "as digits.toml first" in page
