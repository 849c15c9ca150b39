"""A study that grows: what is still valid is kept, what is not is said, and nothing that was trained is lost."""

from __future__ import annotations

import json

import pytest
from study_samples import STUDY, Heard, Place, place, without_durations

from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.study.aside import archives
from ablate.study.growth import best_recipes, space_changes
from ablate.study.study_diff import may_grow

SEARCH = ("search",)
WIDE = STUDY + "[space.dropout]\np = { low = 0.05, high = 0.9 }\n"


@pytest.fixture
def begun(tmp_path) -> Place:
    here = place(tmp_path, study=STUDY)
    here.run(SEARCH)
    return here


def rewritten(here: Place, study: str, first: str = "") -> None:
    """Another study file of the same task; `first`: lines before the sections."""
    file = here.folder / f"{here.name}.toml"
    (task,) = (line for line in file.read_text().splitlines() if line.startswith("task"))
    file.write_text(f"{task}\n{first}{study}")


def trials_in(entries) -> dict[int, str]:
    return {entry.trial: entry.identity for entry in entries if entry.stage == "search"}


def test_more_trials_keep_those_that_there_are(begun):
    before = trials_in(begun.entries())
    rewritten(begun, STUDY.replace("trials = 6", "trials = 9"))
    heard = Heard()
    after = trials_in(begun.run(SEARCH, progress=heard))
    assert len(before) == 6
    assert len(after) == 9
    assert after.items() >= before.items()
    assert len([entry for entry in heard.entries if entry.stage == "search"]) == 3


def test_fewer_trials_change_nothing(begun):
    best = begun.fact("search")["best"]
    rewritten(begun, STUDY.replace("trials = 6", "trials = 2"))
    heard = Heard()
    begun.run(SEARCH, progress=heard)
    assert begun.fact("search")["best"] == best
    assert not heard.entries
    assert any("6 trials exist already and are kept; 2 were requested" in line for line in heard.said)


def test_a_wider_space_keeps_every_trial(begun):
    before = trials_in(begun.entries())
    rewritten(begun, WIDE.replace("trials = 6", "trials = 10"))
    heard = Heard()
    after = trials_in(begun.run(SEARCH, progress=heard))
    assert after.items() >= before.items()
    assert len(after) == 10
    (line,) = (line for line in heard.said if "the search has changed" in line)
    assert "dropout.p" in line
    assert "6 trials are kept" in line
    assert "outside" not in line
    again = Heard()
    assert trials_in(begun.run(SEARCH, progress=again)) == after
    assert not again.entries


def test_trials_outside_a_narrower_space_are_out_of_the_choice(begun):
    gone = {
        entry.trial for entry in begun.entries() if entry.stage == "search" and "dropout" in entry.run.recipe
    }
    assert gone, "the sample has no trial with dropout: this test would show nothing"
    rewritten(begun, STUDY.replace('"dropout", ', ""))
    heard = Heard()
    entries = begun.run(SEARCH, progress=heard)
    assert len(trials_in(entries)) == 6 + len(gone), "as many as requested are inside"
    (line,) = (line for line in heard.said if "the search has changed" in line)
    assert f"{len(gone)} of them outside the space" in line
    assert "dropout is removed" in line
    assert "dropout" not in begun.fact("search")["best"]["recipe"]
    assert all("dropout" not in entry.run.recipe for entry in heard.entries)
    again = Heard()
    assert trials_in(begun.run(SEARCH, progress=again)) == trials_in(entries)
    assert not again.entries
    rewritten(begun, STUDY)  # all are inside again, and more than requested
    wide = Heard()
    assert trials_in(begun.run(SEARCH, progress=wide)).items() >= trials_in(entries).items()
    assert any(
        f"{6 + len(gone)} trials exist already and are kept; 6 were requested" in line for line in wide.said
    )


def test_another_trick_in_the_catalogue_is_a_wider_space(begun):
    rewritten(begun, STUDY.replace('"placebo"', '"placebo", "ema"').replace("trials = 6", "trials = 8"))
    heard = Heard()
    entries = begun.run(SEARCH, progress=heard)
    assert len(trials_in(entries)) == 8
    assert any("ema is new" in line and "6 trials are kept" in line for line in heard.said)


def test_more_epochs_begin_with_what_was_best_and_lose_nothing(begun):
    before, best = begun.entries(), begun.fact("search")["best"]["recipe"]
    ledger = begun.ledger
    rewritten(begun, STUDY, "epochs = 3\n")
    heard = Heard()
    after = begun.run(SEARCH, progress=heard)
    assert {entry.run.epochs for entry in after} == {3}
    assert any("3 epochs instead of 2" in line for line in heard.said)
    tried = [
        entry.run.recipe.to_dict() for entry in after if entry.stage == "search" and 1 <= entry.trial <= 5
    ]
    assert best in tried
    (aside,) = archives(ledger)
    with Ledger.open(aside, write=False) as old:
        assert [entry.identity for entry in old.entries()] == [entry.identity for entry in before]
    rewritten(begun, STUDY)
    back = Heard()
    assert [entry.identity for entry in begun.run(SEARCH, progress=back)] == [e.identity for e in before]
    assert not back.entries
    assert any("continues" in line for line in back.said)
    (aside,) = archives(ledger)
    assert Ledger.facts_of(aside)["study"]["epochs"] == 3


def test_other_data_are_refused_with_more_epochs_too(begun):
    file = begun.folder / "tiny_task.py"
    file.write_text(file.read_text().replace("manual_seed(1)", "manual_seed(2)"))
    rewritten(begun, STUDY, "epochs = 3\n")
    with pytest.raises(InputError, match="the data of 'tiny_task' changed"):
        begun.run(SEARCH)
    assert not archives(begun.ledger)


def test_fewer_epochs_than_ever_are_refused(begun):
    rewritten(begun, STUDY, "epochs = 1\n")
    with pytest.raises(InputError, match="epochs"):
        begun.run(SEARCH)


def test_another_study_s_best_recipes_are_tried_first(begun, tmp_path):
    best = begun.fact("search")["best"]["recipe"]
    other = Place(begun.folder, "other")
    text = (begun.folder / f"{begun.name}.toml").read_text()
    (begun.folder / "other.toml").write_text("seed = 5\n" + text)
    options = other.options(resume_from=begun.name)
    heard = Heard()
    entries = run_with(other, options, heard)
    first = [entry.run.recipe.to_dict() for entry in entries if entry.stage == "search" and entry.trial == 1]
    assert first == [best]
    assert any(f"recipes of '{begun.name}' are tried first" in line for line in heard.said)
    again = run_with(other, options, Heard())
    assert [entry.identity for entry in again] == [entry.identity for entry in entries]
    with pytest.raises(InputError, match="no ledger"):
        run_with(other, other.options(resume_from="nowhere"), Heard())
    with pytest.raises(InputError, match="has begun without 'other'"):
        run_with(begun, begun.options(resume_from="other"), Heard())


def run_with(here: Place, options, progress):
    from ablate.study.driver import run_study
    from ablate.study.request import find
    from ablate.study.resume import session_of

    opened = find(str(here.folder / f"{here.name}.toml"), options)
    with session_of(opened, options, progress) as session:
        run_study(session, options, SEARCH)
    return here.entries()


def test_what_may_change_under_a_ledger():
    assert may_grow(
        "seed = 0\n[space]\ninclude = ['*']\n", "seed = 0\nepochs = 5\n[space]\ninclude = ['d*']\n"
    )
    assert not may_grow("seed = 0\n", "seed = 1\n")
    assert not may_grow("[baseline]\ncosine = true\n", "[baseline]\ncosine = false\n")


def test_changes_of_a_space_in_words():
    def dim(name, low, high, choices=()):
        return {"name": name, "low": low, "high": high, "choices": list(choices)}

    then = [dim("p", 0.0, 0.5), dim("q", 0, 0, (False, True)), dim("r", 1, 2)]
    now = [dim("p", 0.0, 0.9), dim("s", 0, 1), dim("r", 1, 2)]
    assert list(space_changes(then, now)) == ["p: 0 to 0.5 → 0 to 0.9", "q is removed", "s is new"]
    assert json.loads(json.dumps(then)) == then


def test_the_best_recipes_are_the_recommended_one_then_the_search_s():
    facts = {
        "rank": {"recommended": {"recipe": {"sgd": {"lr": 0.1}}}},
        "search": {"best": {"recipe": {"sgd": {"lr": 0.2}}}},
    }
    recipes = best_recipes(facts, [], {"metric": "validation/accuracy", "direction": "higher"})
    assert [recipe["sgd"]["lr"] for recipe in recipes] == [0.1, 0.2]


def test_a_search_in_a_budget_of_time_ends_after_its_share_and_stays_ended(tmp_path):
    study = STUDY.replace("trials = 6", "trials = 40").replace(
        'design = "screening"', 'design = "screening"\nbudget = "9s"'
    )
    here = place(tmp_path, study=study.replace('design = "screening"\n', "").replace("waves = 1\n", ""))
    heard = Heard()
    here.run(("lr-find",))
    with Ledger.open(here.ledger, write=True) as ledger:
        ledger.put("budget", {"asked": "0.01s", "rank": "9s"})
    here.run(SEARCH, progress=heard)
    trials = here.fact("search")["done"]
    assert 0 < trials < 40
    assert [line for line in heard.said if line.startswith(f"search: {trials} of 40 trials")]
    assert here.fact("search")["best"]
    before = without_durations(here.entries())
    here.run(SEARCH)
    assert without_durations(here.entries()) == before
    assert here.fact("search")["done"] == trials
    with Ledger.open(here.ledger, write=True) as ledger:  # as after Ctrl-C in the last trials: they count
        ledger.put("search", {k: v for k, v in ledger.fact("search").items() if k not in ("stopped", "done")})
    here.run(SEARCH)
    assert here.fact("search")["done"] == trials
    with Ledger.open(here.ledger, write=True) as ledger:  # more time was given
        ledger.put("budget", {"asked": "10h", "rank": "9s"})
        ledger.put("search", {**ledger.fact("search"), "stopped": {"trials": trials, "budget": "8s"}})
    here.run(SEARCH)
    assert here.fact("search")["done"] == 40
