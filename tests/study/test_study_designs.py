"""The rank stage on real, tiny trainings: four designs, roles, re-tuned rates, the pilot, and confirmation."""

from __future__ import annotations

import pytest
from study_samples import TABULAR, Heard, place, without_durations

from ablate.catalogue.registry import registry
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.report.collect import collect
from ablate.report.main_rows import main_rows
from ablate.report.verdict import verdict
from ablate.study.session import Session

TASK = TABULAR.replace("randn(100, 4", "randn(160, 4").replace("epochs=2", "epochs=3")
HEAD = """
[baseline]
optimizer = { name = "momentum", lr = %s }
[space]
include = [%s]
"""
FEW = '"dropout", "warmup", "label_smoothing"'
MANY = '"dropout", "warmup", "label_smoothing", "ema", "clip_norm", "adaptive_clip", "flooding", "cosine_restarts"'
CALM = '"warmup", "ema", "clip_norm", "cosine_restarts", "placebo", "early_stopping", "activation", "initialization"'
"""Of these, clipping alone decides whether training survives a rate that is far too high."""
RANK = '[rank]\naround = "baseline"\nwaves = 1\n'
ARRAY = RANK + 'design = "screening"\n'


def study(tmp_path, rank, include=FEW, task=TASK, recipe=None, epochs=3, rate=0.1):
    task = task.replace("epochs=3", f"epochs={epochs}")
    if recipe is not None:
        tmp_path.mkdir(exist_ok=True)
        text = "".join(f"[{n}]\n" + "".join(f"{k} = {v}\n" for k, v in s.items()) for n, s in recipe.items())
        (tmp_path / "winner.toml").write_text(text)
        rank = rank.replace('around = "baseline"', f'around = "{(tmp_path / "winner.toml").as_posix()}"')
    return place(tmp_path, task=task, study=HEAD % (rate, include) + rank)


def data_of(here):
    with Ledger.open(here.ledger, write=False) as ledger:
        return collect(ledger)


def recipes(here, stage):
    return [e.run.recipe for e in here.entries() if e.stage == stage]


WINNER = {
    "momentum": {"lr": 0.1},
    "dropout": {"p": 0.1},
    "warmup": {"share": 0.1},
    "label_smoothing": {"eps": 0.05},
}


@pytest.mark.parametrize(
    ("design", "runs", "estimand"),
    [("screening", 16, "average"), ("factorial", 16, "average"), ("drop-one", 25, "drop-one"), ("add-one", 25, "add-one")],
)  # fmt: skip
def test_each_design_runs_resumes_and_is_reported(tmp_path, monkeypatch, design, runs, estimand):
    rank = RANK + f'design = "{design}"\n'
    here = study(tmp_path / "whole", rank, recipe=WINNER)
    heard = Heard()
    here.run(("rank", "report"), progress=heard)
    fact = here.fact("rank")
    assert fact["design"]["kind"] == design
    assert len(fact["rows"]) == runs
    assert fact["retune"]["arms"] == ["shipped", "warmup=on" if design == "add-one" else "warmup=off"]
    assert (design == "screening") == any("full factorial" in line for line in heard.said)
    data = data_of(here)
    rows = main_rows(data)
    assert set(rows["estimand"]) == {estimand}
    assert set(rows["trick"]) == {"dropout", "warmup", "label_smoothing", "placebo"}
    assert rows["effect"].notna().all()
    assert "re-tuned" in rows.set_index("trick").loc["warmup", "note"]
    assert "Tuning before the design" in (here.report / "index.html").read_text()
    again = study(tmp_path / "again", rank, recipe=WINNER)
    land, landed = Session._on_done, []

    def falling(session, future):
        landed.append(future)
        if len(landed) > 1:
            raise KeyboardInterrupt
        land(session, future)

    monkeypatch.setattr(Session, "_on_done", falling)
    with pytest.raises(KeyboardInterrupt):
        again.run(("rank",))
    assert 0 < len(again.entries()) < len(here.entries())
    monkeypatch.setattr(Session, "_on_done", land)
    assert without_durations(again.run(("rank",))) == without_durations(here.entries())
    kept = {key: value for key, value in fact.items() if key != "around"}
    assert {key: value for key, value in again.fact("rank").items() if key != "around"} == kept


def test_everything_is_declared_before_the_first_run(tmp_path):
    here = study(tmp_path, ARRAY + "margin = 0.02\n")
    seen = []

    class First(Heard):
        def stage(self, name, lane_epochs):
            with Ledger.open(here.ledger, write=False) as ledger:
                seen.append((name, ledger.fact("rank"), len(ledger.finished())))

    here.run(("rank",), progress=First())
    name, fact, finished = seen[0]
    assert (name, finished) == ("rank, rates", 0)
    assert (fact["margin"], fact["alpha"], fact["looks"]) == (0.02, 0.05, 1)
    assert fact["retune"]["runs_per_arm"] == 5
    assert fact["retune"]["rates"][2] == 1.0
    final = here.fact("rank")
    assert sorted(map(set, fact["seeds"])) == [{row["seed"] for row in final["rows"]}]
    name, fact, _ = seen[-1]
    assert name == "rank, wave 1"
    assert fact["rows"] == final["rows"]


def test_each_arm_gets_the_same_budget_and_its_own_rate(tmp_path):
    """The optimizer is the trick, at a rate that is high for momentum and low for Adam: the array's runs are at the rates that were found."""
    levels = 'retune = 3\nlevels = { optimizer = ["momentum", "adam"] }\n'
    here = study(tmp_path, ARRAY + levels, '"momentum", "adam", "dropout"', rate=1.0)
    here.run(("rank",))
    by_arm = {}
    for entry in here.entries():
        if entry.stage == "retune":
            by_arm.setdefault(entry.arm, []).append(entry)
    assert {arm: len(runs) for arm, runs in by_arm.items()} == {"shipped": 3, "adam=on": 3}
    best = here.fact("rank")["retune"]["best"]
    assert best["adam=on"] > best["shipped"]
    rates = {}
    for (arm, runs), optimizer in zip(by_arm.items(), ("momentum", "adam"), strict=True):
        assert len({entry.run.seed for entry in runs}) == 1
        tried = {e.run.recipe[optimizer]["lr"]: e.result.metrics["validation/accuracy"] for e in runs}
        middle = sorted(tried)[1]
        top = max(tried.values())
        assert best[arm] in [pytest.approx(rate / middle) for rate, value in tried.items() if value == top]
        rates[optimizer] = middle * best[arm]
    ranked = recipes(here, "rank")
    assert {name for recipe in ranked for name in recipe} >= {"momentum", "adam"}
    for recipe in ranked:
        optimizer = "adam" if "adam" in recipe else "momentum"
        assert recipe[optimizer]["lr"] == pytest.approx(rates[optimizer])


def test_without_rates_of_their_own_all_arms_train_at_the_recipes_and_the_report_says_so(tmp_path):
    here = study(tmp_path, ARRAY + "retune = 0\n", '"warmup", "dropout"')
    here.run(("rank",))
    assert {e.stage for e in here.entries()} == {"rank"}
    assert {recipe["momentum"]["lr"] for recipe in recipes(here, "rank")} == {0.1}
    data = data_of(here)
    assert "not re-tuned" in main_rows(data).set_index("trick").loc["warmup", "note"]
    assert any("learning rate tuned for another recipe: warmup" in line for line in verdict(data).doubts)


def test_a_must_have_is_on_in_the_array_and_tested_apart_on_the_same_seeds(tmp_path):
    here = study(tmp_path, ARRAY + 'must_have = ["dropout"]\n')
    here.run(("rank", "report"))
    fact = here.fact("rank")
    entries = {entry.identity: entry for entry in here.entries()}
    assert all("dropout" in entries[row["identity"]].run.recipe for row in fact["rows"])
    apart = fact["apart"]["rows"]
    assert len(apart) == 10
    for seed in {row["seed"] for row in apart}:
        pair = [entries[row["identity"]].run.recipe for row in apart if row["seed"] == seed]
        assert sorted("dropout" in recipe for recipe in pair) == [False, True]
    rows = data_of(here).ranking
    row = rows[(rows["trick"] == "dropout") & (rows["estimand"] != "exploratory")]
    assert row["estimand"].tolist() == ["drop-one"]
    assert "tested apart" in row["note"].item()
    assert row["runs"].item() == 10


def test_levels_of_a_slot_are_ranked_together(tmp_path):
    levels = 'levels = { optimizer = ["momentum", "adam", "sgd"] }\n'
    here = study(tmp_path, ARRAY + levels, '"dropout", "adam", "sgd", "momentum", "label_smoothing"')
    here.run(("rank", "report"))
    ranked = recipes(here, "rank")
    names = [next(n for n in recipe if registry()[n].slot == "optimizer") for recipe in ranked]
    counts = [names.count(name) for name in ("momentum", "adam", "sgd")]
    assert max(counts) - min(counts) <= len(ranked) // 8
    rows = main_rows(data_of(here))
    assert set(zip(rows["trick"], rows["level"], strict=True)) >= {
        ("optimizer", "adam"),
        ("optimizer", "sgd"),
    }
    assert here.fact("rank")["retune"]["arms"] == ["shipped", "optimizer=adam", "optimizer=sgd"]
    assert "optimizer: adam" in (here.report / "index.html").read_text()


def test_a_conditional_trick_is_measured_where_its_parent_is_on(tmp_path):
    here = study(tmp_path, ARRAY + 'conditional = { warmup = "dropout" }\n')
    here.run(("rank",))
    assert all("dropout" in recipe for recipe in recipes(here, "rank") if "warmup" in recipe)
    rows = main_rows(data_of(here)).set_index("trick")
    assert "given dropout on" in rows.loc["warmup", "note"]
    assert rows.loc["warmup", "runs"] < rows.loc["label_smoothing", "runs"]


RUINED = WINNER | {"flooding": {"level": 30.0}, "ema": {"decay": 0.5}, "clip_norm": {"max_norm": 5.0}}


def test_a_pilot_that_collapses_names_the_trick_and_the_array_does_without_it(tmp_path):
    """Flooding at 30 pushes the loss up to 30: with it on nothing trains."""
    here, heard = study(tmp_path, ARRAY, MANY, recipe=RUINED, epochs=8), Heard()
    here.run(("rank", "report"), progress=heard)
    fact = here.fact("rank")
    assert fact["pilot"]["failed_on"] == 3
    assert fact["pilot"]["rescued"] == {"on": ["flooding"]}
    assert any("every run failed, but not without flooding" in line for line in heard.said)
    assert "flooding" in fact["left_out"]
    assert not any(
        "flooding" in e.run.recipe for e in here.entries() if e.stage == "rank" and e.arm != "apart"
    )
    rows = data_of(here).ranking
    aside = rows[(rows["trick"] == "flooding") & (rows["estimand"] == "drop-one")]
    assert len(aside) == 1, "the recipe has it, so it is tested apart"
    assert aside["verdict"].item() in ("hurts", "undecided")
    assert (
        "training succeeds only if one of these is flipped: flooding"
        in (here.report / "index.html").read_text()
    )


def at_rate(tmp_path, rate, include=MANY):
    """A study whose baseline has a rate at which nothing trains."""
    here, heard = study(tmp_path, ARRAY.replace("waves", "retune = 0\nwaves"), include, epochs=8), Heard()
    file = here.folder / "tiny.toml"
    file.write_text(file.read_text().replace("lr = 0.1", f"lr = {rate}"))
    here.run(("rank", "report"), progress=heard)
    return here.fact("rank"), heard, here


def test_a_baseline_that_collapses_gets_the_trick_that_saves_it_as_a_must_have(tmp_path):
    """At a rate of 100 clipped gradients alone train (with seeds 0 to 4 of the study alike)."""
    fact, heard, here = at_rate(tmp_path, 100.0, CALM)
    assert fact["pilot"]["failed_off"] == 3
    assert fact["pilot"]["rescued"]["off"] == ["clip_norm"]
    assert any("with all tricks off every run failed, but not with clip_norm" in line for line in heard.said)
    roles = {factor["name"]: factor["role"] for factor in fact["design"]["factors"]}
    assert roles["clip_norm"] == "must_have"
    ranked = [e for e in here.entries() if e.stage == "rank" and e.arm != "apart"]
    assert all("clip_norm" in e.run.recipe for e in ranked)
    rows = data_of(here).ranking.set_index(["trick", "estimand"])
    assert rows.loc[("clip_norm", "drop-one"), "runs_failed"] >= 3


def test_where_nothing_rescues_training_no_array_is_wasted(tmp_path):
    fact, heard, _ = at_rate(tmp_path, 1e4)
    assert fact["pilot"]["array"] is False
    assert any("an array would be wasted" in line for line in heard.said)
    assert any("add-one is run instead" in line for line in heard.said)
    assert fact["design"]["kind"] == "add-one"


def test_a_factorial_of_many_tricks_is_refused_before_anything_is_trained(tmp_path):
    here = study(tmp_path, RANK + 'design = "factorial"\n', MANY)
    with pytest.raises(InputError, match=r"full factorial of 8 tricks has 256 combinations.*screening"):
        here.run(("rank",))
    assert here.entries() == []
    assert here.fact("rank") is None


def test_a_recipe_with_nothing_to_drop_is_told_and_not_an_error(tmp_path):
    here, heard = study(tmp_path, RANK + 'design = "drop-one"\n'), Heard()
    here.run(("rank", "confirm", "report"), progress=heard)
    assert any("no trick is left to rank by drop-one" in line for line in heard.said)
    assert any("winner is the baseline itself" in line for line in heard.said)
    assert verdict(data_of(here)).headline == "The search's best recipe is the baseline itself."


def test_confirm_drops_what_helps_at_its_own_rate_and_resumes_with_more_seeds(tmp_path, monkeypatch):
    here = study(tmp_path, RANK + 'design = "drop-one"\n[confirm]\nseeds = 2\n', recipe=WINNER)
    here.run(("rank",))
    fact = here.fact("rank")
    arms = []
    monkeypatch.setattr("ablate.analysis.designed_runs.Ranked.rows", property(lambda self: [
        {"trick": name, "level": "on", "verdict": "helps" if name != "dropout" else "hurts"} for name in ("dropout", "warmup", "label_smoothing")
    ]))  # fmt: skip
    here.run(("confirm",))
    arms = here.fact("confirm")["arms"]
    assert list(arms) == ["winner", "baseline", "without warmup", "without label_smoothing"]
    winner = Recipe(arms["winner"])
    assert Recipe(arms["without label_smoothing"]) == winner.without("label_smoothing")
    factor = fact["retune"]["best"]["warmup=off"]
    assert arms["without warmup"]["momentum"]["lr"] == pytest.approx(0.1 * factor)
    first = {e.identity for e in here.entries() if e.stage == "confirm"}
    assert len(first) == 8
    file = here.folder / "tiny.toml"
    file.write_text(file.read_text().replace("seeds = 2", "seeds = 4"))
    here.run(("confirm", "report"))
    after = [e for e in here.entries() if e.stage == "confirm"]
    assert len(after) == 16
    assert first < {e.identity for e in after}
    assert all("test/accuracy" in e.result.metrics for e in after)
    assert not any(name.startswith("test/") for e in here.entries() if e.stage != "confirm" for name in e.result.metrics)  # fmt: skip
