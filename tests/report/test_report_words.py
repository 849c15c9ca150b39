"""Words of the page and the terminal of a ranking by tuned arms: what was used, how it was tuned, and what numbers mean."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console
from tuned_synthetic import RECIPE, confirmed, fact, row, tuned_data

from ablate.analysis.tuned_arms import tuned_tables
from ablate.api.ranking_tables import tables_of
from ablate.api.terminal import show
from ablate.export.ablation_text import ablation
from ablate.report.action import action
from ablate.report.data import ReportData
from ablate.report.main_rows import recipe_rows
from ablate.report.page import render
from ablate.report.sections.account import header
from ablate.report.sections.process import _simpler
from ablate.report.sections.tuned import design
from ablate.report.verdict import verdict


@pytest.mark.parametrize("width", [60, 80, 100, 150])
def test_no_name_is_broken_or_cut_off_on_a_terminal(width, capsys, monkeypatch):
    names = ["torch_stochastic_gradient", "depthwise_separable", "schedule_free_adamw"]
    rows = [
        row(name, "add-one", 0.01, "undecided", against=f"{names[0]} and cosine", more_pairs=9)
        for name in names
    ]
    data = tuned_data(
        fact(*rows, fit={"trials": None, "left_out": {}, "words": "", "every": 1.0, "asked": "5m"})
    )
    for table in tables_of(data, width):
        console = Console(file=io.StringIO(), width=width)
        console.print(table)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "…" not in text
        for name in names:
            assert width < 80 or name in text
        assert width < 80 or "undecided" in text
    monkeypatch.setenv("COLUMNS", str(width))
    show(SimpleNamespace(data=data, stages=(), spent=None, page=None))  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert f"--include {','.join(names)}" in " ".join(said.split()), "a list in a command stays whole"
    assert all(len(line) <= width or "," in line for line in said.splitlines())


def test_a_gain_within_the_margin_is_a_little_better():
    for low, high, words in (
        (0.001, 0.009, "is a little better than the baseline, within the margin"),
        (0.01, 0.03, "beats the baseline by"),
    ):
        assert words in action(tuned_data(confirm=confirmed(low, high))).detail
        gain = {"effect": (low + high) / 2, "low": low, "high": high, "pairs": 12}
        document = fact()
        recommended = {**document["recommended"], "gain": gain}
        assert words in action(tuned_data({**document, "recommended": recommended})).detail
    array = ReportData(study={"name": "x"}, design={"margin": 0.01}, confirm=confirmed(-0.009, -0.001))
    assert verdict(array).headline.startswith("The recipe found is a little worse than the baseline by")
    better = replace(array, confirm=confirmed(0.001, 0.009))
    assert "is a little better than the baseline, within the margin" in verdict(better).headline


def test_one_trick_that_was_taken_out_is_it():
    for removed, word in ((["ema"], "it"), (["ema", "sam"], "them")):
        best = {"removed": removed, "trial": 3, "seeds": 8, "value": 0.9, "recipe": RECIPE}
        assert _simpler(tuned_data(search={"best": best})).endswith(f"the recipe without {word}.")


def test_the_caption_of_the_tuning_says_what_a_point_is_and_how_one_was_chosen():
    document = fact()
    arm = "add-one: batch_norm"
    first = document["tuning"][arm][0]
    tuning = {**document["tuning"], arm: [{**first, "final": [0.91, 0.92]}, *document["tuning"][arm][1:]]}
    captions = {
        picture.name: picture.caption
        for picture in render(tuned_data({**document, "tuning": tuning})).pictures
    }
    assert "mean of 1 to 3 runs" in captions["tuning-add-one"]
    assert "mean of 1 run." in captions["tuning-toggle"]
    for words in ("smallest expected loss", "is therefore an estimate", "part of the interval"):
        assert words in captions["tuning-add-one"]


@pytest.mark.parametrize(
    ("asked", "seconds", "words"),
    [
        ("300runs", None, "300 runs, as asked"),
        ("", None, "300 runs, as the search is small"),
        ("566.15s", 566.15, "9 min 26 s for the ranking"),
        ("", 120.0, "25 min 00 s, until nine tricks in ten are decided"),
    ],
)
def test_the_page_tells_the_runs_that_were_used_and_their_upper_limit(asked, seconds, words):
    """Without a budget the declared runs are those of the longest time: 77,852 were told where the plan had told 7,707."""
    document = fact()
    budget = {**document["budget"], "asked": asked, "seconds": seconds}
    facts = dict(design(tuned_data({**document, "budget": budget}))["facts"])
    assert facts["Runs used"] == "240: 40 tuning, 200 race"
    assert words in facts["Upper limit"].replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "Budget" not in facts


def test_the_page_breaks_no_line_within_a_name():
    page = render(tuned_data()).html
    assert ".name { white-space: nowrap;" in page
    assert ".groups .item { display: inline-block; max-width: 100%;" in page
    assert '<td class="name">+ batch_norm</td>' in page
    assert '<th scope="row" class="text name">batch_norm</th>' in page


def test_a_ranking_whose_arms_were_not_tuned_says_so_and_claims_no_best_rate():
    document = fact()
    tuning = {"first": 1, "finalists": 1, "repeats": 0, "rounds": 0}
    untuned = tuned_data({**document, "budget": {**document["budget"], "tuning": tuning}})
    page = render(untuned)
    assert any("left no runs to tune the arms" in doubt for doubt in verdict(untuned).doubts)
    assert "at its first learning rate" in page.html
    assert "at its own best learning rate" not in page.html
    assert "Only the references were tuned" in page.html
    (caption,) = [picture.caption for picture in page.pictures if picture.name == "tuning-toggle"]
    assert "which need not be its best" in caption
    tuned = render(tuned_data())
    assert "at its own best learning rate" in tuned.html
    assert "left no runs" not in tuned.html


def test_an_exported_paragraph_claims_no_best_rate_of_arms_that_were_not_tuned():
    tuning = {"first": 1, "finalists": 1, "repeats": 0, "rounds": 0}
    document = fact()
    untuned = tuned_data({**document, "budget": {**document["budget"], "tuning": tuning}})
    for data, said in ((untuned, "at its reference's learning rate"), (tuned_data(), "at its own best")):
        ranked = replace(data, study={**data.study, "task": "mine"}, ranking=tables())
        text = ablation(ranked)
        assert said in text.paragraph
        assert ("own best" in text.paragraph) is (data is not untuned)
    baseline_only = replace(ranked, ranking=ranked.ranking[ranked.ranking["estimand"] == "add-one"])
    assert "in the recipe found" not in ablation(baseline_only).caption


def test_only_the_first_sheet_of_tuning_curves_explains_them():
    rows = [row(f"trick{number}", "add-one", 0.01, "helps") for number in range(30)]
    captions = [
        p.caption for p in render(tuned_data(fact(*rows))).pictures if p.name.startswith("tuning-add-one")
    ]
    assert len(captions) == 2
    assert "smallest expected loss" in captions[0]
    assert captions[1] == "Tuning on the baseline, continued."


def test_figures_of_the_verdict_name_what_their_ranges_are():
    values = {"winner": {"1": 0.9, "2": 0.94}, "baseline": {"1": 0.9, "2": 0.91}}
    data = tuned_data(confirm={**confirmed(0.01, 0.03), "values": values})
    basis = {tile.name: tile.basis.replace("\N{NARROW NO-BREAK SPACE}", " ") for tile in verdict(data).tiles}
    assert basis["recommended recipe, test/accuracy"] == "mean of 2 seeds, single ones 90.00 % to 94.00 %"
    assert basis["gain over the baseline"].startswith("95 % interval +1.00 to +3.00")
    assert dict(header(replace(data, study={**data.study, "epochs": 20})))["Length of a run"] == "20 epochs"


def test_margin_and_levels_are_told_in_words():
    document = fact(margin_source="auto")
    racing = {**document["budget"]["racing"], "levels": [0.025, 0.025]}
    data = tuned_data({**document, "budget": {**document["budget"], "racing": racing}})
    facts = dict(design(data)["facts"])
    assert facts["Margin"].endswith("(set automatically)")
    assert facts["Looks"] == "after 6, 12 pairs, each at level 0.025"
    assert dict(design(tuned_data())["facts"])["Looks"] == "after 6, 12 pairs, at levels 0.02, 0.03"
    assert "margin: set automatically" in design(data)["methods"]


def test_a_trick_of_the_recipe_without_an_arm_says_so():
    rows = {name: shown for name, _, shown, _ in recipe_rows(tuned_data(ranking=tables()), RECIPE)}
    assert rows == {"momentum": "no arm", "batch_norm": "helps", "mixup": "helps a little"}


def tables() -> pd.DataFrame:
    """The synthetic ranking as the frame of the report."""
    each = tuned_tables(fact(), "validation/accuracy", higher=True)
    return pd.concat([table.assign(estimand=name) for name, table in each.items()], ignore_index=True)
