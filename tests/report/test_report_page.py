"""The page: verdict first, self-contained, described, and honest about what is not there."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_synthetic import Synthetic

from ablate.report import page as page_module
from ablate.report.collect import collect
from ablate.report.data import ReportData
from ablate.report.page import render
from ablate.report.verdict import verdict


class InMemory:
    """What `collect` needs of a ledger."""

    def __init__(self, study):
        self.study = study

    def facts(self):
        return self.study.facts

    def entries(self, stage=None, *, scores=True):
        return self.study.entries


class Reader(HTMLParser):
    """Every tag with its attributes, and the text of what was asked for."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


SCRIPT = (Path(page_module.__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Reader(html)


def test_the_policy_is_the_first_thing_in_the_head_and_forbids_everything(html, page):
    names = [name for name, _ in page.tags]
    first = page.tags[names.index("head") + 1]
    assert first[0] == "meta"
    assert first[1]["http-equiv"] == "Content-Security-Policy"
    policy = first[1]["content"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert re.findall(r"script-src ([^;]*);", policy) == [f"'sha256-{digest}'"]


def test_the_only_script_is_the_pages_own_and_nothing_is_fetched(html, page):
    names = {name for name, _ in page.tags}
    assert [attributes for name, attributes in page.tags if name == "script"] == [{}]
    assert html.count(f"<script>{SCRIPT}</script>") == 1
    assert not re.search(r"fetch|XMLHttp|import|eval|innerHTML|document\.write|http", SCRIPT)
    assert not names & {
        "iframe",
        "object",
        "embed",
        "img",
        "form",
        "base",
        "image",
        "foreignobject",
    }
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], (tag, attributes)
        for key in ("href", "src", "action", "data"):
            value = attributes.get(key)
            if tag != "svg" and value is not None:
                assert re.fullmatch(r"#[\w-]+|data:,|[\w-]+\.(csv|json|toml)|plots/", value), (
                    tag,
                    key,
                    value,
                )


def test_only_the_stylesheet_of_the_page_is_allowed(html, page):
    import base64
    import hashlib

    style = html.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.of("meta")[0]["content"]
    assert "url(" not in style
    assert "@import" not in style


def test_the_verdict_stands_before_every_table_and_figure(html):
    assert html.index('id="verdict"') < html.index("<figure") < html.index('id="files"')
    assert html.index('id="verdict"') < html.index("<table")
    assert "beats the baseline by" in html.split('id="verdict"')[1][:300]


def test_ids_are_unique_and_every_link_has_its_target(page):
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(ids.values()) == 1
    inside = [a["href"][1:] for _, a in page.tags if str(a.get("href", "")).startswith("#")]
    assert set(inside) <= set(ids)
    clips = re.findall(r"url\(#([^)]+)\)", " ".join(str(v) for _, a in page.tags for v in a.values()))
    assert clips
    assert set(clips) <= set(ids)


def test_every_figure_has_a_caption_and_a_description(html, page):
    assert html.count("<figure>") == html.count("<figcaption>") >= 15
    pictures = page.of("svg")
    assert len(pictures) == html.count("<figure>")
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 20
    assert all(len(text) > 30 for text in re.findall(r"<figcaption>(.*?)</figcaption>", html, re.S))


def test_colours_of_the_plots_are_variables_that_both_themes_define(html):
    from ablate.report.plots.palette import DARK, LIGHT

    assert LIGHT.keys() == DARK.keys()
    used = set(re.findall(r"var\(--(\w+)\)", html))
    for role in LIGHT:
        assert f"--{role}:" in html
    defined = set(re.findall(r"--(\w+):", html))
    assert used <= defined
    inked = re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', html)
    assert not set(inked) & set(LIGHT.values())


@pytest.mark.parametrize("foreground", ["ink", "muted", "blue", "orange", "purple"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(theme, foreground):
    """WCAG 2.2, contrast of normal text: 4.5."""
    from ablate.report.plots.palette import DARK, LIGHT

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    palette, paper = (LIGHT, "#ffffff") if theme == "light" else (DARK, "#14181c")
    one, other = sorted((luminance(palette[foreground]), luminance(paper)))
    assert (other + 0.05) / (one + 0.05) >= 4.5


def test_every_trick_of_the_ranking_is_in_the_table_with_its_interval(html, data):
    rows = data.ranking[data.ranking["estimand"] == "average"]
    assert len(rows) == 11
    for row in rows.to_dict("records"):
        assert row["trick"] in html
        assert data.units.interval(row["low"], row["high"]) in html


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("stages", "present", "command"),
    [
        ((), "verdict", "ablate lr-find digits"),
        (("lr-find",), "lr-find", "ablate study digits --stages search"),
        (("search",), "search", "ablate confirm digits"),
        (("search", "rank"), "ranking", "ablate confirm digits"),
    ],
)
def test_a_stage_that_has_not_run_names_its_command(stages, present, command):
    study = Synthetic(trials=20, stages=stages)
    text = render(collect(InMemory(study))).html
    assert f'id="{present}"' in text
    assert command in text
    assert "beats the baseline" not in text


def test_a_page_can_be_made_from_nothing_but_a_name():
    text = render(ReportData(study={"name": "empty"})).html
    assert "No run has finished yet" in text


@pytest.mark.usefixtures("undrawn")
def test_when_every_run_diverged_the_page_says_so():
    study = Synthetic(trials=15, failing=1.0)
    text = render(collect(InMemory(study))).html
    assert re.search(r"None of \d+ runs finished with a value", text)
    assert "loss is NaN at step 57" in text


def test_the_headline_follows_the_interval(data):
    gain = data.confirm["gain"]

    def tone(low, high):
        changed = {**data.confirm, "gain": {**gain, "effect": (low + high) / 2, "low": low, "high": high}}
        return verdict(replace(data, confirm=changed))

    assert tone(0.001, 0.02).tone == "good"
    assert tone(-0.01, 0.02).tone == "open"
    assert "No gain" in tone(-0.01, 0.02).headline
    assert tone(-0.03, -0.01).tone == "bad"
    assert "keep the baseline" in tone(-0.03, -0.01).headline


def test_a_placebo_with_an_effect_is_the_first_doubt(data):
    ranking = data.ranking.copy()
    ranking.loc[ranking["trick"] == "placebo", "verdict"] = "helps"
    assert "placebo" in verdict(replace(data, ranking=ranking)).doubts[0]


def test_a_placebo_clear_of_zero_and_tied_pairs_are_doubts(data):
    assert not [doubt for doubt in verdict(data).doubts if "placebo" in doubt or "equal" in doubt]
    ranking = data.ranking.copy()
    placebo = ranking["trick"] == "placebo"
    ranking.loc[placebo, ["low", "high"]] = [0.001, 0.002]
    assert any(
        "placebo's interval excludes zero" in doubt
        for doubt in verdict(replace(data, ranking=ranking)).doubts
    )
    ranking = data.ranking.copy()
    tied = str(ranking[~placebo]["trick"].iloc[0])
    ranking.loc[ranking["trick"] == tied, ["effect", "low", "high"]] = 0.0
    said = [doubt for doubt in verdict(replace(data, ranking=ranking)).doubts if "came out equal" in doubt]
    assert len(said) == 1
    assert tied in said[0]


@pytest.mark.usefixtures("undrawn")
def test_a_best_value_at_the_edge_of_its_range_is_said(data):
    best = data.search["best"]
    recipe = {**best["recipe"], "momentum": {"lr": 0.99, "momentum": 0.9}}
    searched = replace(data, search={**data.search, "best": {**best, "recipe": recipe}})
    assert not [doubt for doubt in verdict(searched).doubts if "momentum.lr" in doubt], (
        "another is recommended"
    )
    moved = replace(searched, confirm={**data.confirm, "arms": {**data.confirm["arms"], "winner": recipe}})
    said = [doubt for doubt in verdict(moved).doubts if "momentum.lr" in doubt]
    assert len(said) == 1
    assert "upper edge" in said[0]
    assert "momentum.lr.high = 10" in said[0]
    assert "upper edge" in render(moved).html
    inside = replace(moved, search={**data.search, "best": {**best, "recipe": {"momentum": {"lr": 0.1}}}})
    assert not [doubt for doubt in verdict(inside).doubts if "momentum.lr" in doubt]


@pytest.mark.usefixtures("undrawn")
def test_lower_is_better_turns_the_signs():
    study = Synthetic(trials=30)
    study.facts["study"] |= {"metric": "validation/loss", "direction": "minimize"}
    data = collect(InMemory(study))
    assert data.confirm["metric"] == "test/loss"
    assert data.confirm["gain"]["effect"] > 0
    assert "lower is better" in render(data).html
    assert data.ranking.set_index(["trick", "estimand"]).loc[("batch_norm", "average"), "effect"] > 0


def test_what_lr_find_could_not_measure_is_a_gap_not_an_error():
    """lr-find.json writes null for what is not finite; a step that failed has hardly any figures."""
    from ablate.report.plots.lr_find import panel

    curve = [2.3, None, 1.1, 0.9]
    assert panel({"step": 2, "name": "x", "figures": {"curves": {"rate 1": curve, "rate 10": [None, None]}}})
    assert panel({"step": 3, "name": "x", "figures": {"lr": [1e-3, 1e-2, 1e-1, 1.0], "loss": curve}})
    cell = {"learning_rate": 0.1, "weight_decay": 0.0, "validation/accuracy": None, "outcome": "diverged"}
    assert panel({"step": 4, "name": "x", "figures": {"cells": [cell]}}) is None
    good = {**cell, "learning_rate": 0.01, "validation/accuracy": 0.9}
    assert "2 cells" in panel({"step": 4, "name": "x", "figures": {"cells": [cell, good]}}).caption
    for figures in (
        {},
        {"initial_loss": None},
        {"cells": []},
        {"by_seed": {"0": 2.3}},
        {"lr": [1.0], "loss": [2.0]},
    ):
        assert panel({"step": 1, "name": "x", "figures": figures}) is None


def test_trials_stand_in_their_order_whatever_the_order_in_which_lanes_finished(html):
    mixed = Synthetic(trials=40)
    mixed.entries = mixed.entries[::-1]
    again = collect(InMemory(mixed))
    assert list(again.stage("search")["trial"]) == list(range(40))
    one, other = (page.split('id="search"')[1].split("Best so far")[0] for page in (html, render(again).html))
    assert one == other


def test_smoothing_leaves_the_ends_and_short_curves_alone():
    import numpy as np

    from ablate.report.plots.axes import smooth

    short = [2.0, 1.0, 0.5, 0.4]
    assert smooth(short).tolist() == short
    line = np.arange(50.0)
    assert smooth(line) == pytest.approx(line)
    noisy = np.sin(line / 8) + np.tile([0.1, -0.1], 25)
    smoothed = smooth(noisy)
    assert smoothed[[0, -1]] == pytest.approx(noisy[[0, -1]])
    assert smoothed[10] == pytest.approx(noisy[8:13].mean())
    spike = smooth([0.5, 0.5, 1e30, 0.5, 0.5, 0.5], 3)
    assert spike[-2:].tolist() == [0.5, 0.5]
    gap = [1.0, float("nan"), 3.0, 3.0]
    assert smooth(gap, 3)[1:3].tolist() == [2.0, 3.0]


def test_points_tell_their_values_and_trials_are_lines(html):
    assert len(re.findall(r"<title>trial \d+: ", html)) >= 8
    parallel = html[html.index('aria-label="Parallel coordinates') :]
    assert "<title>trial " in parallel[: parallel.index("</svg>")]
