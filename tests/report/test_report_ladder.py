"""The ladder in words: what a step changes, and its gain beside the confirmed one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tuned_synthetic import confirmed, fact, tuned_data

from ablate.api.terminal import show
from ablate.export.ablation_text import _paragraph
from ablate.report.action import action
from ablate.report.ladder import step_labels, steps_text
from ablate.report.page import render


def test_a_step_says_what_it_changes():
    adamw, nadam = {"adamw": {"lr": 0.01}}, {"torch_nadam": {"lr": 0.01}}
    recipes = [
        {**adamw, "dropout": {}, "ema": {"decay": 0.99}},
        {**nadam, "dropout": {}, "ema": {"decay": 0.99}},
        {**nadam, "dropout": {}, "ema": {"decay": 0.999}},
        {**nadam, "ema": {"decay": 0.999}},
        {**nadam, "ema": {"decay": 0.999}, "mixup": {}},
    ]
    done = [("torch_nadam", "added"), ("ema", "other settings"), ("dropout", "taken out"), ("mixup", "added")]
    step = fact()["ladder"]["steps"][0]
    steps = [
        {**step, "trick": trick, "change": change, "recipe": recipe}
        for (trick, change), recipe in zip(done, recipes[1:], strict=True)
    ]
    ladder = {**fact()["ladder"], "baseline": recipes[0], "steps": steps, "levels": [0.9] * 5}
    labels = ["adamw → torch_nadam", "ema: other settings", "− dropout", "+ mixup"]
    without = [{key: value for key, value in step.items() if key != "recipe"} for step in steps]
    assert step_labels({**ladder, "steps": without}) == ["+ torch_nadam", *labels[1:]]
    assert step_labels(ladder) == labels
    page = render(tuned_data(fact(ladder=ladder))).html
    assert all(page.count(label) > 1 for label in labels), "in the waterfall and in the table"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.015, 0.03, "agree within their intervals"),
        (0.001, 0.003, "differ by more than their intervals allow"),
    ],
)
def test_the_gains_of_ladder_and_confirmation_are_reconciled(low, high, words):
    data = tuned_data(confirm=confirmed(low, high))
    page = render(data).html
    for text in (
        page[page.index('id="confirmation"') :],
        page[: page.index('id="confirmation"')],
        steps_text(data),
    ):
        assert words in text
        assert "in the ladder (validation/accuracy)" in text
        assert "in the confirmation (test/accuracy)" in text
    assert "in the ladder" not in render(tuned_data()).html, "there is one gain only"


def test_a_gain_of_the_ladder_that_is_not_confirmed_is_told():
    advice = action(tuned_data(confirm=confirmed(-0.001, 0.003)))
    assert advice.headline.startswith("Keep your baseline")
    assert "differ by more than their intervals allow" in advice.detail


def test_terminal_and_paragraph_tell_the_steps(capsys):
    text = steps_text(tuned_data())
    assert (
        text == "Steps from the baseline, in validation/accuracy (pp): + batch_norm (+2.00); + mixup (+1.00)."
    )
    assert text in _paragraph(tuned_data(), [])
    show(SimpleNamespace(data=tuned_data(), stages=(), spent=None, page=None))  # type: ignore[arg-type]
    assert text in " ".join(capsys.readouterr().out.split())
    assert steps_text(tuned_data(fact(ladder=None))) == ""


def test_the_verdict_says_what_the_recipe_changes_in_the_baseline():
    assert "Changes to the baseline: + batch_norm; + mixup." in action(tuned_data()).detail
    document = fact()
    first = {**document["recommended"], "steps": 1}
    assert (
        "Changes to the baseline: + batch_norm."
        in action(tuned_data({**document, "recommended": first})).detail
    )
