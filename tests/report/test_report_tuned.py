"""The page and the terminal of a ranking by tuned arms: what to do, both references, the ladder, the tuning curves."""

from __future__ import annotations

import io
import tomllib
from dataclasses import replace
from typing import Any

import pytest
from report_payloads import PAYLOADS
from rich.console import Console
from tuned_synthetic import BASELINE, RECIPE, confirmed, fact, row, tuned_data

from ablate.api.ranking_tables import tables_of
from ablate.catalogue.registry import registry
from ablate.records.recipe import Recipe
from ablate.report.action import action, recommended_recipe
from ablate.report.collect import _describe, gather
from ablate.report.continue_commands import again, command_for_all, command_for_tricks
from ablate.report.data import ReportData
from ablate.report.documents import recipe_toml
from ablate.report.lean_words import UNCHANGED
from ablate.report.numbers import Units
from ablate.report.page import render
from ablate.report.plots.tuned import waterfall
from ablate.report.plots.tuning_curves import points_of
from ablate.report.ranking_rows import claim_beside
from ablate.report.sections.account import reproduce
from ablate.report.sections.tuned import design
from ablate.report.tuned_rows import applies, left_out, tuned_rows
from ablate.report.tuned_verdict import _more
from ablate.report.verdict import verdict

TEST = "test/accuracy"


def test_a_better_recipe_is_recommended_with_its_command():
    advice = verdict(tuned_data())
    assert advice.headline == "Use this recipe: momentum + batch_norm + mixup."
    assert advice.command == "ablate train digits --recipe reports/digits/recipe.toml"
    assert "2 of 3 tricks decided" in advice.detail
    assert "±1.00\N{NARROW NO-BREAK SPACE}pp" in advice.detail


def test_effects_on_a_standardised_target_are_in_its_deviations():
    study = {"name": "houses", "task": "houses", "metric": "validation/rmse", "direction": "minimize"}
    plain = replace(tuned_data(confirm={**confirmed(0.01, 0.03), "metric": "test/rmse"}), study=study)
    data = replace(plain, task={"target_deviation": 77.1})
    unit = "\N{NARROW NO-BREAK SPACE}SD"
    assert f"+0.0200{unit} (" in action(data).detail
    assert unit not in action(plain).detail
    page = render(data).html
    assert "in standard deviations (SD) of the target, by validation/rmse." in page
    console = Console(file=io.StringIO(), width=200)
    for table in tables_of(data):
        console.print(table)
    assert "effect on validation/rmse, SD; less than ±0.0100" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_confirmed_gain_replaces_the_one_of_the_ladder():
    advice = action(tuned_data(confirm=confirmed(0.01, 0.03)))
    assert advice.recipe == RECIPE
    assert "+2.00" in advice.detail
    assert TEST in advice.detail


@pytest.mark.parametrize(
    ("low", "high", "command"), [(-0.01, 0.03, "ablate confirm digits --seeds 40"), (-0.03, -0.01, "")]
)
def test_a_gain_that_is_not_confirmed_keeps_the_baseline(low, high, command):
    advice = action(tuned_data(confirm=confirmed(low, high)))
    assert advice.headline.startswith("Keep your baseline")
    assert advice.recipe == BASELINE
    assert advice.command == command


def test_the_baseline_is_kept_where_it_is_recommended():
    data = tuned_data(fact(better=False))
    assert action(data).headline == "Keep your baseline."
    assert recommended_recipe(data) == BASELINE


def test_a_baseline_at_another_rate_names_the_rate():
    at = {**BASELINE, "momentum": {"lr": 0.25}}
    advice = action(tuned_data(fact(better=False, recommended={"recipe": at, "is_baseline": True})))
    assert advice.headline == "Keep your baseline, with the learning rate 0.25."
    assert advice.recipe == at


def test_arms_whose_best_rate_is_at_the_edge_are_named_by_their_tricks():
    edges = [f"{estimand}: trick{i}" for estimand in ("add-one", "toggle") for i in range(10)]
    (doubt,) = [one for one in verdict(tuned_data(fact(edges=edges))).doubts if "best learning rate" in one]
    assert "trick0, trick1," in doubt
    assert "trick7 and 2 more" in doubt
    assert "add-one" not in doubt


def test_what_hurts_in_the_baseline_is_dropped():
    hurts = row("weight_decay", "add-one", -0.02, "hurts")
    advice = action(tuned_data(fact(hurts, better=False)))
    assert advice.headline == "Drop weight_decay from your baseline."
    assert "weight_decay" not in advice.recipe
    assert "2.00" in advice.detail


def test_no_recipe_with_a_trick_that_hurts_is_recommended():
    advice = action(tuned_data(fact(row("mixup", "toggle", -0.02, "hurts"))))
    assert "mixup" not in advice.recipe
    assert "mixup" not in advice.headline
    assert "mixup hurts in the recipe that was compared" in advice.detail
    assert "mixup" in verdict(tuned_data()).headline, "it is recommended where it does not hurt"


def found(low: float, high: float, **confirm) -> dict:
    return {
        **confirm,
        "metric": TEST,
        "over_found": {
            "effect": (low + high) / 2,
            "low": low,
            "high": high,
            "n": 20,
            "wins": 9,
            "level": 0.95,
        },
    }


@pytest.mark.parametrize(
    ("low", "high", "part"),
    [
        (-0.009, 0.001, "not worse than the recipe that the search found by more than ±1.00"),
        (0.001, 0.005, "is a little better than the recipe that the search found, within the margin: +0.30"),
        (-0.03, -0.02, "that one may be better by more than ±1.00"),
        (0.02, 0.03, "beats the recipe that the search found"),
    ],
)
def test_the_recommended_recipe_is_told_against_the_one_that_was_found(low, high, part):
    detail = action(tuned_data(confirm=found(low, high, **confirmed(0.01, 0.03)))).detail
    assert part in detail.replace("\N{MINUS SIGN}", "-")
    kept = action(tuned_data(fact(better=False), confirm=found(low, high)))
    assert kept.headline == "Keep your baseline."
    assert part in kept.detail.replace("\N{MINUS SIGN}", "-")


def test_a_rung_that_is_better_than_the_whole_ladder_is_named():
    document = fact()
    whole = document["ladder"]
    ladder = {**whole, "steps": [*whole["steps"], whole["steps"][-1]], "levels": [*whole["levels"], 0.9]}
    number = len(ladder["steps"])
    page = render(
        tuned_data({**document, "ladder": ladder, "recommended": {**document["recommended"], "steps": 1}})
    ).html
    assert "Recommended is the recipe of the first step" in page
    page = render(
        tuned_data(
            {**document, "ladder": ladder, "recommended": {**document["recommended"], "steps": number}}
        )
    ).html
    assert "Recommended is the recipe of" not in page


def test_what_was_taken_out_is_told_with_its_number():
    document = fact()
    step = {
        "without": document["lean"]["removed"],
        "effect": -0.004,
        "low": -0.008,
        "high": 0.001,
        "pairs": 20,
    }
    page = render(tuned_data({**document, "lean_tried": [step]})).html.replace("\N{MINUS SIGN}", "-")
    assert "Taken out of the recipe that the search found: ema. Without it -0.40" in page
    assert "90 % interval, 20 pairs), where ±1.00" in page


STEP = {"without": ["mixup", "ema"], "effect": -0.02, "low": -0.03, "high": -0.01, "pairs": 20}
STAYS = [
    {
        "trick": "mixup",
        "why": "without mixup and ema the recipe may be worse by more than the margin",
        **STEP,
    },
    {"trick": "momentum", "why": "the baseline has it"},
    {"trick": "batch_norm", "against": "layer_norm", "why": "the baseline has it"},
    {"trick": "cutout", "why": "the baseline has it"},
]


def test_why_a_trick_without_an_effect_stays_is_told_on_the_page_and_in_the_summary() -> None:
    """Cutout is a trick of the lean recipe that the recommended rung does not have."""
    document = fact()
    data = tuned_data({**document, "lean": {**document["lean"], "kept": STAYS}})
    page = render(data).html.replace("\N{MINUS SIGN}", "-")
    assert (
        "No measurable effect, but still in the recipe: mixup, as without mixup and ema the recipe may be worse"
        in page
    )
    assert "the margin: -2.00\N{NARROW NO-BREAK SPACE}pp (-3.00 to -1.00, 90 % interval, 20 pairs); momentum and batch_norm (against layer_norm), as the" in page  # fmt: skip
    detail = verdict(data).detail
    assert "but still in the recipe: mixup, as without mixup and ema the recipe may be worse by more than the margin; momentum and" in detail  # fmt: skip
    assert "cutout, as" not in page + detail
    kept = {**document["recommended"], "recipe": document["baseline"], "is_baseline": True}
    assert "still in the recipe" not in verdict(tuned_data({**document, "lean": {**document["lean"], "kept": STAYS}, "recommended": kept})).detail  # fmt: skip


def test_a_recipe_found_that_was_not_changed_is_told_so() -> None:
    document = fact()
    data = tuned_data({**document, "lean": {**document["lean"], "removed": [], "added": [], "kept": []}})
    assert UNCHANGED in render(data).html
    assert UNCHANGED in verdict(data).detail
    assert UNCHANGED not in verdict(tuned_data(document)).detail


def test_what_was_taken_out_is_not_in_the_recipe_that_the_page_recommends() -> None:
    """The recommended rung still has mixup, which the lean recipe lacks; where the baseline is kept, what was compared with it is told."""
    document = fact()
    lean = {**document["lean"], "removed": ["ema", "mixup"], "replaced": {"ema": "swa"}, "added": ["swa"]}
    page = render(tuned_data({**document, "lean": lean})).html
    assert "Taken out of the recipe that the search found: ema (in its place swa)." in page
    assert "Added to it" not in page
    page = render(tuned_data({**fact(better=False), "lean": lean})).html
    assert "search found, before it was compared with the baseline: ema (in its place swa), mixup." in page
    assert "Added to it: swa." in page


def test_what_stands_in_the_place_of_another_trick_is_told_so() -> None:
    document = fact(better=False)
    lean = {"removed": ["swa", "nadam", "ema"], "added": ["mixup"], "replaced": {"nadam": "momentum"}}
    detail = action(tuned_data({**document, "lean": {**document["lean"], **lean}})).detail
    assert detail.startswith(
        "The recipe found without swa and ema, with momentum in place of nadam and with mixup is not shown to be better:"
    )


def test_a_recipe_found_that_became_the_baseline_is_not_told_as_compared_with_it() -> None:
    lean = {"removed": ["nadam"], "added": [], "replaced": {"nadam": "momentum"}, "recipe": BASELINE}
    kept = {"recipe": BASELINE, "is_baseline": True, "gain": None, "steps": 0}
    data = tuned_data(fact(lean=lean, ladder=None, recommended=kept))
    assert action(data).detail.startswith(
        "The recipe found with momentum in place of nadam is the baseline itself."
    )
    page = render(data).html
    assert "Taken out of the recipe that the search found: nadam (in its place momentum)." in page
    assert "What is left is the baseline itself." in page
    assert "compared with the baseline" not in page


GAIN = {"effect": 0.03, "low": 0.01, "high": 0.05, "pairs": 20}
NO_GAIN = {"effect": 0.002, "low": -0.01, "high": 0.014, "pairs": 20}


def helped(**changes: Any) -> dict[str, Any]:
    """The fact's entry on the baseline with what helps it."""
    recipe = {**BASELINE, "mixup": {}}
    return {"recipe": recipe, "changes": ["mixup"], "gain": GAIN, "found": NO_GAIN, "is_recommended": True} | changes  # fmt: skip


def test_the_baseline_with_what_helps_it_is_told_with_the_reason() -> None:
    recipe = {**BASELINE, "mixup": {}}
    recommended = {"recipe": recipe, "is_baseline": False, "gain": GAIN, "steps": 1}
    data = tuned_data(fact(helped=helped(), recommended=recommended))
    assert "search found is not shown to be better than the baseline (+0.20" in render(data).html
    assert "so the baseline with mixup was compared with it, on the same seeds." in render(data).html
    assert "Taken out of the recipe that the search found" not in render(data).html
    assert action(data).headline.startswith("Use this recipe")
    came_down = tuned_data(fact(helped=helped(found=None), recommended=recommended))
    assert "The recipe that the search found came down to the baseline, so" in render(came_down).html


def test_a_baseline_that_is_no_better_with_what_helps_it_is_told() -> None:
    kept = {"recipe": BASELINE, "is_baseline": True, "gain": NO_GAIN, "steps": 0}
    tried = helped(gain=NO_GAIN, is_recommended=False)
    detail = action(tuned_data(fact(helped=tried, recommended=kept))).detail
    assert "is not shown to be better: +0.20" in detail
    assert "Nor is the baseline with mixup, though each change helps by itself: +0.20" in detail


def test_after_a_ranking_on_the_baseline_alone_no_recipe_found_is_told_of():
    document = fact(row("mixup", "add-one", 0.03, "helps"), better=False)
    document["ladder"]["steps"] = [{**document["ladder"]["steps"][0], "trick": "mixup", "change": "added"}]
    document["lean"]["recipe"] = {**BASELINE, "mixup": {}}
    detail = action(tuned_data(document)).detail
    assert detail.startswith("The baseline with mixup is not shown to be better: ")
    assert "recipe found" not in detail


def test_an_unfinished_ranking_names_its_command():
    advice = action(tuned_data(fact(recommended=None, ladder=None, lean=None, complete=False)))
    assert advice.command == "ablate rank digits"


def test_one_row_a_trick_with_both_references_and_the_reason_where_there_is_none():
    data = tuned_data()
    rows = {shown.name: shown for shown in tuned_rows(data)}
    assert [cell.effect for cell in rows["batch_norm"].cells] == ["+3.00", "+2.00"]
    assert rows["placebo"].cells[1].why
    assert next(iter(rows)) == "batch_norm"
    assert dict(left_out(data)) == {
        "adamw": "conflicts with weight_decay",
        "momentum": "the optimizer of the baseline; the optimizer of the recipe",
    }


def test_a_claim_stands_only_beside_its_own_setting():
    record = _describe(registry()["initialization"])
    kaiming = next(claim for claim in record["claims"] if claim["statement"].startswith("kaiming"))
    assert applies(kaiming, {"scheme": "kaiming", "gain": 1.0})
    assert not applies(kaiming, {"scheme": "zero"})
    assert applies({"settings": []}, {"scheme": "zero"})
    assert not applies(
        {"settings": [["scheme", "kaiming"], ["gain", 2.0]]}, {"scheme": "kaiming", "gain": 1.0}
    )
    for scheme, number in (("zero", 0), ("kaiming", 1)):
        toggled = row(
            "initialization", "add-one", 0.0, "undecided", recipe_with={"initialization": {"scheme": scheme}}
        )
        shown = tuned_rows(tuned_data(fact(toggled), tricks={"initialization": record}))
        assert len(shown[0].claims) == number


def test_an_array_too_shows_a_claim_only_beside_its_own_setting():
    record = _describe(registry()["initialization"])
    for scheme, shown in (("kaiming", True), ("zero", False)):
        around = {"initialization": {"scheme": scheme}}
        data = ReportData(
            study={"name": "x"},
            design={"kind": "screening", "around": around},
            tricks={"initialization": record},
        )
        assert bool(claim_beside(data, "initialization")[0]) == shown


def test_settings_of_claims_are_legal_settings_of_their_trick():
    for trick in registry().values():
        for claim in trick.claims:
            for name, value in claim.settings:
                assert trick.parameter(name).check(value, name) == value


def test_tuning_curves_are_means_by_rate_in_the_units_and_direction_of_the_metric():
    tried = [
        {"rate": 0.1, "scores": [-2.0, -4.0], "final": [], "chosen": False},
        {"rate": 0.1, "scores": [-1.0], "final": [], "chosen": False},
        {"rate": 0.01, "scores": [-5.0], "final": [float("nan")], "chosen": True},
        {"rate": 1.0, "scores": [float("-inf")], "final": [], "chosen": False},
    ]
    assert points_of(tried, Units.of("validation/loss"), higher=False) == [
        (0.01, 5.0, True, 1),
        (0.1, 1.0, False, 1),
    ]


def test_the_waterfall_tells_every_step():
    drawn = waterfall(fact()["ladder"], Units.of("validation/accuracy"), higher=True)
    assert "+ batch_norm: +2.00" in drawn.alt
    assert waterfall({**fact()["ladder"], "steps": []}, Units.of("validation/accuracy"), higher=True) is None


def test_the_page_has_forest_ladder_and_curves_and_no_missing_numbers():
    page = render(tuned_data())
    names = [picture.name for picture in page.pictures]
    assert {"forest-both", "ladder", "tuning-add-one", "tuning-toggle"} <= set(names)
    assert page.html.index("Use this recipe") < page.html.index("<table")
    for wrong in ("nan", "mathdefault", "NaN"):
        assert f">{wrong}<" not in page.html
        assert f" {wrong} " not in page.html
    assert "2 looks were declared" in page.html
    assert "12 more" not in page.html
    assert "≈ 9 more pairs" in page.html


def test_failed_runs_and_a_placebo_with_an_effect_are_doubts():
    rows = (
        row("placebo", "add-one", 0.03, "helps"),
        row("batch_norm", "add-one", 0.0, "undecided", failed=4),
    )
    said = verdict(tuned_data(fact(*rows))).doubts
    assert "placebo" in said[0]
    assert "batch_norm (4 of 12)" in said[1]


def fitted(**study: str) -> ReportData:
    """A study that was made to fit: two tricks are not ranked, one is undecided."""
    fit = {
        "trials": None,
        "left_out": {"sam": "no time", "lamb": "no time"},
        "words": "",
        "every": 601.0,
        "asked": "4m",
    }
    data = tuned_data(fact(row("mixup", "add-one", 0.0, "undecided"), fit=fit))
    data.study.update(study)
    return data


def test_a_study_made_to_fit_names_the_commands_that_go_on():
    data = fitted(command="ablate study my.py --target 'a b' --budget=4m --include mixup,sam --epochs 3")
    assert (
        command_for_all(data)
        == "ablate study my.py --target 'a b' --include mixup,sam --epochs 3 --budget 11m"
    )
    few = "ablate study my.py --target 'a b' --epochs 3 --include mixup --name digits-undecided --budget"
    assert command_for_tricks(data, ["mixup"], [9]) == f"{few} 12m"  # all that there was: more time
    data.design["effects"] += [row(name, "add-one", 0.0, "helps") for name in ("ema", "dropout")]
    assert command_for_tricks(data, ["mixup"], [9]) == f"{few} 4m"
    doubts = "\n".join(verdict(data).doubts)
    assert f"2 tricks not ranked: sam, lamb, because 4m are too short ({command_for_all(data)})" in doubts
    assert f"({command_for_tricks(data, ['mixup'], [9])})" in doubts
    assert again(fitted(command="python x.py", given="my.py:task", named="two"), budget="9m") == (
        "ablate study my.py:task --name two --budget 9m"
    )
    assert "not ranked" not in "\n".join(verdict(tuned_data()).doubts)


def test_a_command_that_goes_on_runs_all_stages_and_prints_for_people():
    data = fitted(command="ablate study my.py --json --stages report --quiet --include mixup --budget 5m")
    assert again(data, budget="9m") == "ablate study my.py --include mixup --budget 9m"
    assert "--json" not in "\n".join(verdict(data).doubts)


@pytest.mark.parametrize("command", ['ablate study "', "it's", "", "ablate"])
def test_what_is_no_command_is_replaced_by_one(command):
    assert again(fitted(command=command), budget="9m") == "ablate study digits --budget 9m"


def test_a_baseline_that_was_ranked_without_a_search_is_ranked_again_alone():
    data = tuned_data()
    data = replace(data, search=None)
    data.study["command"] = "ablate lr-find digits"
    data.design["around"] = data.design["baseline"] = BASELINE
    assert again(data, budget="900runs") == "ablate rank digits --around baseline --budget 900runs"
    data.study["command"] = (
        "ablate rank my.py:task --around baseline --include dropout,mixup --budget 200runs"
    )
    assert (
        again(data, budget="9m")
        == "ablate rank my.py:task --around baseline --include dropout,mixup --budget 9m"
    )
    data.design["around"] = RECIPE
    assert again(data, budget="9m") == "ablate study digits --budget 9m"


def test_the_command_that_ranked_goes_on_whatever_ran_after_it():
    data = tuned_data()
    data.study.update({"command": "ablate confirm my.py --seeds 40", "ranked_by": "ablate rank my.py --target y --budget 5m"})  # fmt: skip
    assert again(data, budget="9m") == "ablate rank my.py --target y --budget 9m"
    assert again(data, budget="9m", name="x") == "ablate study digits --budget 9m --name x"  # finds a recipe
    data.study["ranked_by"] = "ablate study my.py --target y"
    assert again(data, budget="9m", name="x") == "ablate study my.py --target y --budget 9m --name x"


def test_what_is_left_open_again_keeps_the_name():
    data = fitted(command="ablate study my.py --budget 4m --name digits-undecided", name="digits-undecided")
    assert "--name digits-undecided --budget" in command_for_tricks(data, ["mixup"], [9])


def test_arms_that_were_not_tuned_get_a_budget_that_tunes_them():
    data = fitted(command="ablate study my.py --budget 4m")
    data.design["effects"] += [row(name, "add-one", 0.0, "helps") for name in ("ema", "dropout", "swa")]
    data.design["tuned_from"] = {"runs": 900, "seconds": 600.0, "others": 61.0, "had": 100.0}
    assert command_for_tricks(data, ["mixup"], [9]).endswith("--budget 4m")  # a quarter: 61 + 150 seconds
    data.design["tuned_from"]["seconds"] = 1200.0
    assert command_for_tricks(data, ["mixup"], [9]).endswith("--budget 7m")
    data.design["budget"]["tuning"] = {"first": 1, "finalists": 1, "repeats": 0, "rounds": 0}
    doubts = "\n".join(verdict(data).doubts)
    assert "a budget of 22m tunes each (ablate study my.py --budget 22m)" in doubts
    data.design.update(fit=None, tuned_from={"runs": 900, "seconds": None})
    assert command_for_tricks(data, ["mixup"], [9]) == "ablate study my.py --budget 900runs"


def test_one_reference_has_a_narrow_table_too():
    data = tuned_data()
    data.design["effects"] = [row for row in data.design["effects"] if row["estimand"] == "add-one"]
    (table,) = tables_of(data, 80)
    assert [column.header for column in table.columns][-3:] == ["effect", "interval", "verdict"]


def test_what_is_ranked_is_not_said_to_be_left_out():
    fit = {"trials": None, "left_out": {"mixup": "no time"}, "words": "", "every": 601.0, "asked": "4m"}
    data = tuned_data(fact(row("mixup", "add-one", 0.0, "helps"), fit=fit))
    assert "not ranked" not in "\n".join(verdict(data).doubts)


def test_a_design_without_rounds_is_told_in_words():
    data = tuned_data(fact(fit={"trials": None, "left_out": {}, "words": "", "every": 1.0, "asked": "5m"}))
    data.design["budget"] |= {"asked": "30.03s", "seconds": 30.03}
    facts = dict(design(data)["facts"])
    assert facts["Tuning of an arm"] == "3 runs"
    assert facts["Upper limit"] == "30\N{NARROW NO-BREAK SPACE}s for the ranking, of 5m for the study"


@pytest.mark.parametrize(
    ("effect", "kind", "said"),
    [
        (0.04, "helps", "The model's dropout costs 4.00\N{NARROW NO-BREAK SPACE}pp ± 0.40 (12 pairs)."),
        (
            -0.04,
            "hurts",
            "The model's dropout earns its place: without it 4.00\N{NARROW NO-BREAK SPACE}pp ± 0.40 worse",
        ),
        (0.0, "no measurable effect", ""),
    ],
)
def test_a_part_of_the_model_is_told_without_double_negation(effect, kind, said):
    tricks = {"remove_dropout": {"title": "The model's dropout removed"}}
    advice = verdict(tuned_data(fact(row("remove_dropout", "add-one", effect, kind)), tricks=tricks))
    assert said in advice.detail
    assert ("The model's dropout" in advice.detail) is bool(said)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("helps", "The model's skip connections cost 4.00"),
        ("hurts", "The model's skip connections earn their place: without them 4.00"),
        ("hurts a little", "The model's skip connections help a little: without them 4.00"),
    ],
)
def test_parts_of_the_model_are_told_in_the_plural(kind, said):
    tricks = {"remove_skip": {"title": "The model's skip connections removed"}}
    advice = verdict(tuned_data(fact(row("remove_skip", "add-one", 0.04, kind)), tricks=tricks))
    assert said in advice.detail


def test_tricks_for_which_no_time_was_left_are_named_with_the_command_that_ranks_them():
    data = tuned_data(
        fact(row("mixup", "add-one", 0.0, "helps"), late={"asked": "3m", "tricks": ["sam", "lamb"]})
    )
    data.study["command"] = "ablate study my.py --budget 3m"
    said = "2 tricks not ranked: sam, lamb, because the stages before the ranking took longer than planned (ablate study my.py --budget 9m)"
    assert said in verdict(data).doubts


def test_runs_that_would_decide_are_as_many_as_the_pairs_need():
    data = tuned_data(fact(row("mixup", "add-one", 0.0, "undecided", more_pairs=840)))
    data.study["command"] = "ablate study digits --include mixup --budget 2m --trials 4"
    spent, allowed = sum(data.design["spent"].values()), data.design["budget"]["runs"]
    assert spent < allowed
    assert (
        command_for_tricks(data, ["mixup"], [840])
        == f"ablate study digits --include mixup --trials 4 --budget {spent + 1092}runs"
    )
    words = "ablate study digits --include mixup --trials 4 --budget"
    assert command_for_tricks(data, ["mixup"], [None]) == f"{words} {2 * spent}runs"
    data.design["budget"]["runs"] = 636_630  # what 25 minutes would have held
    assert command_for_tricks(data, ["mixup"], [None]) == f"{words} {2 * spent}runs"
    data.design["budget"]["runs"] = allowed
    data.design["budget"]["asked"] = "2m"  # which ended it
    assert command_for_tricks(data, ["mixup"], [None]) == f"{words} {2 * allowed}runs"


@pytest.mark.parametrize(("sigma", "doubtful"), [(None, False), (0.014, False), (0.03, True)])
def test_runs_that_scatter_too_much_are_told_what_helps(sigma, doubtful):
    races = [{"estimand": "add-one", "scored": "mean", "family": 4, "sigma": sigma}]
    doubts = "\n".join(verdict(tuned_data(fact(races=races))).doubts)
    assert ("more epochs or more validation examples" in doubts) is doubtful
    assert ("differs by 3.00" in doubts) is doubtful


def test_a_narrow_terminal_has_a_table_for_each_reference_and_a_line_for_each_trick():
    out = io.StringIO()
    console = Console(file=out, width=80)
    for table in tables_of(tuned_data(), 80):
        console.print(table)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("batch_norm") for line in lines) == 2
    (of_recipe,) = [line for line in lines if line.startswith("batch_norm*")]
    assert "+2.00" in of_recipe
    assert "in the recipe found, * has it" in out.getvalue()
    assert "no measurable effect" not in out.getvalue()  # which would not fit beside long names
    assert "no effect: less than" in " ".join(out.getvalue().split())
    for table in tables_of(tuned_data(), 80):
        (column,) = [column for column in table.columns if column.header == "effect"]
        effects = [float(str(cell).replace("−", "-")) for cell in column.cells if cell != "–"]
        assert effects == sorted(effects, reverse=True)


def test_the_terminal_has_one_table_with_both_references():
    out = io.StringIO()
    (table,) = tables_of(tuned_data())
    Console(file=out, width=200).print(table)
    line = next(line for line in out.getvalue().splitlines() if line.startswith("batch_norm"))
    assert "+3.00" in line
    assert "+2.00" in line


def test_the_recipes_of_the_synthetic_ranking_are_recipes():
    assert Recipe(RECIPE).to_dict() == RECIPE


def test_the_ledger_gives_both_estimands_and_the_recommended_recipe():
    study = {"name": "digits", "task": "digits", "metric": "validation/accuracy", "direction": "maximize"}
    data = gather({"study": study, "baseline": BASELINE, "rank": fact()}, [])
    effects = data.ranking.set_index(["trick", "estimand"])["effect"]
    assert effects["batch_norm", "add-one"] == pytest.approx(0.03)
    assert effects["batch_norm", "toggle"] == pytest.approx(0.02)
    assert tomllib.loads(recipe_toml(recommended_recipe(data), "digits")) == RECIPE
    assert "Use this recipe" in render(data).html


def test_hostile_names_stay_text():
    rows = [row(f"{text} {number}", name, 0.02, "helps", settings=text, against=text)
            for number, text in enumerate(PAYLOADS[::6]) for name in ("add-one", "toggle")]  # fmt: skip
    study = {"name": "digits", "task": "digits", "metric": "validation/accuracy", "direction": "maximize"}
    facts = {"study": study, "baseline": BASELINE, "rank": fact(*rows, margin_source=PAYLOADS[0])}
    html = render(gather(facts, [])).html
    for text in PAYLOADS:
        assert not text.startswith("<") or text not in html


def test_a_narrow_page_keeps_the_names_of_the_tricks():
    """The rule that hides the rank of an array's table on a narrow page leaves the first column of this one."""
    html = render(tuned_data()).html
    hidden = [line for line in html.splitlines() if "display: none" in line and "th:first-child" in line]
    assert hidden
    assert all("table.ranking:not(.both) th:first-child" in line for line in hidden)
    assert 'class="ranking both"' in html


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([None, None], ""),
        ([7], "; ≈ 7 more pairs would decide it"),
        ([1], "; ≈ 1 more pair would decide it"),
        ([1, 1], "; ≈ 1 more pair each would decide them"),
        ([1808, 7, None, 99, 22], "; ≈ 99 more pairs each would decide 3 of them"),
        ([None, None, None, 40], "; ≈ 40 more pairs each would decide 1 of them"),
        ([30, 30, 10], "; ≈ 30 more pairs each would decide them"),
    ],
)
def test_the_pairs_that_are_advised_decide_half_of_what_is_open(pairs, words) -> None:
    assert _more(pairs) == words


def test_the_tuned_rate_of_the_baseline_is_told_beside_the_one_of_lr_find():
    assert "tuned its learning rate to 0.05." in reproduce(tuned_data())["baseline_tuned"]
    data = tuned_data()
    data.baseline["momentum"] = {"lr": 0.05}
    assert reproduce(data)["baseline_tuned"] == ""
    data.baseline["momentum"] = {"lr": 0.1}
