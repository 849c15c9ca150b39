"""S1 for ledgers: documents of another form, with digests that are right, are one line."""

import copy
import json
from pathlib import Path

import pytest

from ablate.analysis.tuned_arms import compared
from ablate.ledger.codec import encode
from ablate.ledger.contents import contents
from ablate.ledger.facts import FORMS, documents
from ablate.ledger.index import Fact
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.records.forms import Each, Either, Like, maybe, mismatch
from ablate.report.collect import collect, gather
from bench.chaos.facts import FACTS


def written(path, facts):
    with Ledger.open(path, write=True) as ledger:
        for key, document in facts.items():
            ledger.put(key, document)
    return path


def test_what_a_driver_writes_is_read(tmp_path):
    path = written(tmp_path / "x.db", FACTS)
    assert contents(path)[0] == Ledger.facts_of(path) == FACTS
    assert set(FORMS) == set(FACTS)
    with Ledger.open(path, write=False) as ledger:
        assert collect(ledger).study["name"] == "tiny"


def of(facts):
    """The documents as a ledger gives them."""
    return documents(Path("x.db"), {key: Fact(0, "", encode(value)) for key, value in facts.items()})


@pytest.mark.parametrize("key", FACTS)
def test_a_document_of_another_type_is_one_line(key):
    for value in (3, "x", [1], [[]], {"a": 1}, {"steps": 3}, True):
        if mismatch(value, FORMS[key]) == "":
            continue  # a table with other keys, of a document that needs none
        with pytest.raises(InputError, match=f"says of '{key}' what ablate does not write: {key}") as error:
            of({**FACTS, key: value})
        assert "\n" not in str(error.value)


def test_every_way_to_read_a_ledger_compares_the_forms(tmp_path):
    path = written(tmp_path / "x.db", {"study": 3})
    with Ledger.open(path, write=False) as ledger:
        for read in (
            lambda: Ledger.facts_of(path),
            lambda: contents(path),
            ledger.facts,
            lambda: ledger.fact("study"),
        ):
            with pytest.raises(InputError, match="says of 'study'"):
                read()


FORGED = {
    "a seed of text": (lambda f: f["study"].update(seed="x"), r"study\.seed is text, not a whole number"),
    "steps without findings": (lambda f: f["lr-find"]["steps"][0].pop("findings"), r"steps\[0\]\.findings is missing"),
    "a recipe of numbers": (lambda f: f["baseline"].update(momentum=3), r"baseline\.momentum is a whole number, not a table"),
    "rows of text": (lambda f: f["rank"].update(rows=["x"]), r"rank\.rows\[0\] is text, not a table"),
    "another verdict": (lambda f: f["rank"]["rows"][0].update(verdict="heals"), r"rows\[0\]\.verdict is 'heals'"),
    "a budget of nonsense": (lambda f: f["budget"].update(rank=3), r"budget\.rank is a whole number, not text"),
    "a trick's path": (lambda f: f["tricks"][0].update(optimizer=3), r"tricks\[0\]"),
    "rows without a margin": (lambda f: f["rank"].update(margin=None), "rank.margin is null, not a number"),
    "nothing spent": (lambda f: f["rank"].update(spent=None), "rank.spent is null, not a table"),
    "a gain without pairs": (lambda f: f["rank"]["recommended"]["gain"].pop("pairs"), "gain"),
    "a large number": (lambda f: f["study"].update(epochs=10**30), "has more than 64 bits"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_value_of_another_type_is_named(name):
    facts, (change, message) = copy.deepcopy(FACTS), FORGED[name]
    change(facts)
    with pytest.raises(InputError, match=message):
        of(facts)


def test_a_ranking_without_its_baseline_s_tuning_is_one_line():
    facts = copy.deepcopy(FACTS)
    for point in facts["rank"]["tuning"]["add-one: baseline"]:
        point["chosen"] = False
    with pytest.raises(InputError, match="how its baseline was tuned"):
        gather(of(facts), [])


def test_a_rate_on_one_side_alone_is_not_shown():
    row = FACTS["rank"]["rows"][2]
    assert "at rate 0.1 against" in compared(row)
    assert "at rate" not in compared({**row, "reference_rate": None})
    assert "at rate" not in compared({**row, "rate": None})


def test_forms():
    form = {"a": int, "b?": [float], "c?": Each(maybe(str)), "d?": Like("x+"), "e?": Either((bool, [str]))}
    for right in (
        {"a": 1},
        {"a": 1, "b": [1, 0.5], "z": 3},
        {"a": 1, "c": {"x": None, "y": "z"}, "d": "xx", "e": True},
    ):
        assert mismatch(right, form) == ""
    for wrong, message in (
        ({}, "it.a is missing"), ({"a": True}, "it.a is true or false, not a whole number"), ({"a": 1.0}, "it.a is a number, not a whole number"),
        ({"a": 1, "b": [1, "x"]}, "it.b[1] is text, not a number"), ({"a": 1, "b": {}}, "it.b is a table, not a list"),
        ({"a": 1, "b": None}, "it.b is null, not a list"),
        ({"a": 1, "c": {"x": 1}}, "it.c.x is a whole number, not text"), ({"a": 1, "d": "xy"}, "it.d is 'xy'"),
        ({"a": 1, "e": 3}, "it.e is a whole number, not a list"), ([], "it is a list, not a table"),
    ):  # fmt: skip
        assert mismatch(json.loads(json.dumps(wrong)), form) == message
