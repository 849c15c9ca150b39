"""Wide categories of a table become ids for embeddings; dates are read in the form that all of them have."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ablate.tasks.check import check
from ablate.tasks.models import EmbeddedPerceptron
from ablate.tasks.table_dates import date_form
from ablate.tasks.tabular import WIDE, fit_encoder
from ablate.tasks.task import Task

ROWS = 400
TOWNS = np.array([f"town {i % (WIDE + 5)}" for i in range(ROWS)], dtype=object)
TOWNS[7], TOWNS[9] = "hamlet", None
TABLE = pd.DataFrame(
    {"town": TOWNS, "size": np.arange(ROWS) % 17 * 1.0, "kind": ["flat", "house"] * (ROWS // 2)}
)
EVERY = np.arange(ROWS)


def test_each_level_has_an_id_and_rare_and_new_ones_share_one():
    encode = fit_encoder(TABLE, EVERY, embed=True)
    x = encode(TABLE)
    ids = x["categories"][:, 0]
    assert (ids.dtype, x["numbers"].dtype) == (np.int64, np.float32)
    by_town = pd.Series(ids).groupby(pd.Series(TOWNS).fillna("missing")).nunique()
    assert (by_town == 1).all()
    assert encode.levels == (WIDE + 5 + 2,), "the towns, one id for what one row has, and 0"
    assert ids.min() >= 1
    assert ids.max() == encode.levels[0] - 1
    rare = ids[7]
    assert ids[9] == rare, "a gap is a level, here of one row"
    assert (ids == rare).sum() == 2
    new = encode(TABLE.head(2).assign(town=["Atlantis", "town 1"]))
    assert new["categories"][:, 0].tolist() == [rare, ids[1]]
    assert x["numbers"].shape == (ROWS, 1 + 2)
    assert f"town: {WIDE + 7} levels became {WIDE + 6} ids for an embedding" in " ".join(encode.notes)


def test_without_rare_levels_a_new_one_is_unknown():
    table = TABLE.assign(town=[f"town {i % (WIDE + 1)}" for i in range(ROWS)])
    encode = fit_encoder(table, EVERY, embed=True)
    new = encode(table.head(1).assign(town="Atlantis"))
    assert new["categories"].tolist() == [[0]]
    assert encode.levels == (WIDE + 2,)


def test_the_default_model_embeds_and_ones_own_does_where_it_is_asked():
    table = TABLE.assign(target=np.arange(ROWS) % 2 == 0)
    task = Task.from_table(table, "target")
    model = task.model()
    assert isinstance(model, EmbeddedPerceptron)
    assert str(task.train.packing) == "numbers float32 [3], categories int64 [1]"
    assert check(task) == ()
    flat = Task.from_table(table, "target", model=nn.Linear)
    assert flat.train.packing is None
    seen = []

    def own(inputs, outputs, levels):
        seen.append((inputs, outputs, levels))
        return EmbeddedPerceptron(inputs, levels, (8,), outputs)

    check(Task.from_table(table, "target", model=own, embed=True))
    assert seen[0][:2] == (3, 2)
    assert len(seen[0][2]) == 1


@pytest.mark.parametrize(("rows", "kept"), [(150, True), (100, True), (70, False), (60, False)])
def test_a_category_is_left_out_only_where_most_rows_have_a_level_of_their_own(rows, kept):
    """60 levels in turn: in 100 rows 20 of them occur once, in 70 rows 50 do."""
    table = pd.DataFrame({"town": [f"town {i % 60}" for i in range(rows)], "size": np.arange(rows) % 7 * 1.0})
    encode = fit_encoder(table, np.arange(rows), embed=True)
    assert encode.wide == ("town",) * kept
    assert any("left out, because nearly every row" in note for note in encode.notes) != kept


def test_the_unknown_level_adds_nothing_and_widths_are_fastais():
    model = EmbeddedPerceptron(2, (91, 10), (4,), 1)
    assert [layer.embedding_dim for layer in model.embeddings] == [20, 6]
    numbers, unknown = torch.randn(3, 2), torch.zeros(3, 2, dtype=torch.int64)
    alone = model.layers(torch.cat([numbers, torch.zeros(3, 26)], 1))
    assert torch.equal(model(numbers, unknown), alone)


DAYS = [dt.date(2021, 2, 1) + dt.timedelta(days=11 * i) for i in range(30)]


@pytest.mark.parametrize(
    ("form", "remark"),
    [
        ("%d/%m/%Y", "day first"), ("%m/%d/%Y", "month first"), ("%d.%m.%Y %H:%M", "day first"), ("%Y/%m/%d", ""),
        ("%Y-%m-%d", ""),
    ],
)  # fmt: skip
def test_dates_in_any_form_that_is_clear_are_the_same(form, remark):
    texts = [day.strftime(form) for day in DAYS]
    table = pd.DataFrame({"day": [*texts, None]})
    rows = np.arange(len(table))
    pandas_form, said = date_form(table["day"])
    assert pandas_form
    assert remark in said
    iso = pd.DataFrame({"day": [*(day.isoformat() for day in DAYS), None]})
    np.testing.assert_array_equal(fit_encoder(table, rows)(table), fit_encoder(iso, rows)(iso))


def test_ambiguous_dates_are_text_and_numbers_are_no_dates():
    ambiguous = pd.Series(["01/02/2021", "03/04/2021"])
    form, said = date_form(ambiguous)
    assert form == ""
    assert "cannot be told apart" in said
    for values in (["12", "13"], ["1.2.3", "x"], ["01/02/2021", "soon"], []):
        assert date_form(pd.Series(values, dtype=object)) == ("", "")
