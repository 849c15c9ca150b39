"""A table in a file as a task: `data.csv:income`. Types are recognised, training rows alone are learned from."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ablate.records.errors import InputError
from ablate.tasks.check import check
from ablate.tasks.load import load
from ablate.tasks.tabular import LEVELS, fit_encoder
from ablate.tasks.task import Task

DRAW = np.random.default_rng(0)
ROWS = 200
TABLE = pd.DataFrame(
    {
        "age": np.where(DRAW.random(ROWS) < 0.1, np.nan, DRAW.integers(18, 80, ROWS)),
        "vip": DRAW.random(ROWS) < 0.5,
        "town": DRAW.choice(["Bern", "Basel", None], ROWS),
        "joined": [f"20{10 + i % 10}-0{1 + i % 9}-1{i % 9}" for i in range(ROWS)],
        "id": [f"user {i}" for i in range(ROWS)],
        "pay": DRAW.normal(50, 9, ROWS).round(2),
        "income": DRAW.choice(["high", "low"], ROWS),
    }
)


@pytest.fixture
def file(tmp_path):
    TABLE.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def test_every_kind_of_column_is_encoded_as_by_hand(file):
    task = load(f"{file}:income")
    rows = task.splits
    assert (task.name, task.criterion, task.labels, task.kind) == (
        "people",
        "classification",
        ("high", "low"),
        "tabular",
    )
    assert {where: len(split) for where, split in rows.items()} == {
        "train": 120,
        "validation": 40,
        "test": 40,
    }
    again = pd.read_csv(file)
    x = torch.from_numpy(task.encode(again.drop(columns="income")))
    y = torch.from_numpy((again["income"] == "low").to_numpy().astype(np.int64))
    order = [(x == row).all(1).nonzero()[0].item() for row in task.train.x]
    assert torch.equal(y[order], task.train.y)
    train = again.iloc[order]
    filled = again["age"].fillna(train["age"].median())
    dates = pd.to_datetime(again["joined"])
    scaled = [
        filled,
        again["vip"].astype(float),
        again["pay"],
        dates.dt.year,
        dates.dt.month,
        dates.dt.day,
        dates.dt.day_of_week,
    ]
    for column, values in enumerate(scaled):
        training = values.iloc[order]
        expected = (values - training.mean()) / training.std(ddof=0)
        np.testing.assert_allclose(x[:, column], expected, rtol=1e-5, atol=1e-5)
    assert (x[:, 7] == 0).all(), "the hour is the same everywhere"
    assert torch.equal(x[:, 8].bool(), torch.tensor(again["age"].isna().tolist()))
    towns = again["town"].fillna("missing")
    for column, town in enumerate(("Basel", "Bern", "missing"), start=9):
        assert torch.equal(x[:, column].bool(), torch.tensor((towns == town).tolist()))
    assert x.shape[1] == 12
    assert "id: left out, because nearly every row has a different text" in task.notes
    assert check(task) == ()


def test_rows_that_come_later_are_encoded_as_training_was(file):
    encode = load(f"{file}:income").encode
    strange = TABLE.drop(columns="income").head(2).assign(town=["Atlantis", "Bern"], age=[None, 40.0])
    x = encode(strange)
    assert x[0, 9:].tolist() == [0, 0, 0]
    assert x[1, 9:].tolist() == [0, 1, 0]
    assert x[0, 8] == 1
    assert np.isfinite(x).all()
    with pytest.raises(InputError, match="the table has no column 'pay'"):
        encode(strange.drop(columns="pay"))


def test_validation_and_test_rows_teach_nothing():
    table = pd.DataFrame({"size": [1.0, 3.0, 5.0, 1e9], "town": ["a", "b", "a", "zzz"]})
    few, all_rows = np.arange(3), np.arange(4)
    assert np.array_equal(fit_encoder(table, few)(table)[:3], fit_encoder(table.head(3), few)(table.head(3)))
    assert fit_encoder(table, few)(table).shape[1] < fit_encoder(table, all_rows)(table).shape[1]


def test_rare_levels_share_a_column():
    words = [f"w{i % (2 * LEVELS)}" for i in range(2000)]
    encoder = fit_encoder(pd.DataFrame({"word": words}), np.arange(2000))
    x = encoder(pd.DataFrame({"word": words}))
    assert x.shape[1] == LEVELS
    assert (x.sum(1) == 1).all()
    assert "word: its rarest levels share a column" in encoder.notes


@pytest.mark.parametrize(
    ("values", "criterion", "outputs"),
    [
        (["no", "yes"] * 50, "classification", 2),
        ([True, False] * 50, "classification", 2),
        ([1, 2, 7, 5] * 25, "classification", 4),
        ([-1.0, 1.0] * 50, "classification", 2),
        (list(range(100)), "regression", 1),
        ([0.5, 1.5] * 50, "regression", 1),
    ],
)
def test_what_kind_of_target_it_is(tmp_path, values, criterion, outputs):
    pd.DataFrame({"x": DRAW.normal(size=100), "target": values}).to_csv(tmp_path / "t.csv", index=False)
    task = load(f"{tmp_path}/t.csv:target")
    assert (task.criterion, task.outputs) == (criterion, outputs)
    check(task)
    if criterion == "regression":
        assert abs(task.train.y.mean().item()) < 1e-6


def test_tabs_separate_a_tsv(tmp_path):
    TABLE.to_csv(tmp_path / "people.tsv", index=False, sep="\t")
    TABLE.to_csv(tmp_path / "people.csv", index=False)
    assert (
        load(f"{tmp_path}/people.tsv:income").data_sha256 == load(f"{tmp_path}/people.csv:income").data_sha256
    )


def test_rows_without_a_target_are_left_out_and_told(tmp_path):
    TABLE.assign(income=TABLE["income"].where(TABLE.index > 4)).to_csv(tmp_path / "p.csv", index=False)
    task = load(f"{tmp_path}/p.csv:income")
    assert sum(map(len, task.splits.values())) == ROWS - 5
    assert "5 rows without a value of 'income' are left out" in task.notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "x,y\n1,2\n",
            "does not say which column is to be predicted; write .*a.csv:COLUMN, or --target COLUMN; columns: x, y",
        ),
        ("a.csv:Y", "x,y\n1,2\n", "unknown column of .*a.csv 'Y'; did you mean 'y'?"),
        ("none.csv:y", None, "there is no file .*none.csv"),
        ("a.csv:y", "", "cannot be read as a table"),
        (
            "a.csv:y",
            "x,y\n1,2\n1,2,3\n",
            "cannot be read as a table .* each line needs as many fields as the header",
        ),
        ("a.csv:y", "x,x,y\n1,2,3\n", "a.csv has several columns 'x'; rename all but one"),
        ("a.csv:y", "x;y\n1;2\n", "has one column only; columns are separated by commas"),
        ("a.csv:y", "x,y\n1,a\n2,b\n", "has 2 rows with a target, too few|has 2 classes in 2 rows"),
        (
            "a.csv:y",
            "x,y\n1,0.5\n2,1.5\n",
            "a.csv has 2 rows with a target, too few to split; give more rows",
        ),
        ("a.csv:y", "x,y\n" + "inf,a\n1,b\n" * 20, "column 'x' holds infinity"),
        (
            "a.csv:y",
            "x,y\n" + "1,inf\n2,3\n" * 20,
            "column 'y' holds infinity; give a number, or leave it empty",
        ),
        (
            "a.csv:y",
            "x,y\n" + "".join(f"name {i},{i % 2}\n" for i in range(90)),
            "no column of the table can be used",
        ),
        ("a.csv:y", "x,y\n" + "".join(f"{i},name {i}\n" for i in range(90)), "'y' has 90 classes in 90 rows"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        load(f"{tmp_path}/{name}")


def test_frames_with_booleans_and_numbers_are_inputs():
    """What pandas.get_dummies gives, which an error recommends."""
    frame = pd.get_dummies(pd.DataFrame({"a": [1.5, 2.5] * 20, "b": ["u", "v"] * 20}))
    task = Task(lambda: nn.Linear(3, 2), (frame, np.arange(40) % 2), test=False)
    rows = task.train.rows
    assert task.train.x.dtype is torch.float32
    np.testing.assert_array_equal(task.train.x, frame.to_numpy(dtype=np.float32)[rows])


def test_a_column_that_numbers_the_rows_is_left_out(tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": generator.normal(size=60), "b": generator.permutation(60), "y": np.arange(60) % 2}
    )
    frame.to_csv(tmp_path / "saved.csv")  # with its index
    task = load(f"{tmp_path}/saved.csv:y")
    assert task.train.x.shape[1] == 2  # a and b, which has the same values in another order
    assert "Unnamed: 0: left out, because it numbers the rows" in task.notes
    np.testing.assert_array_equal(task.encode(pd.read_csv(tmp_path / "saved.csv")), task.encode(frame))


def test_rows_without_a_target_do_not_hide_a_column_that_numbers_the_rows(tmp_path):
    frame = pd.DataFrame({"id": np.arange(60), "a": np.arange(60) ** 2 % 7, "y": ["u", "v"] * 30})
    frame.loc[[0, 17, 18], "y"] = None
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    task = load(f"{tmp_path}/gaps.csv:y")
    assert {"id: left out, because it numbers the rows", "3 rows without a value of 'y' are left out"} <= set(
        task.notes
    )
    assert task.train.x.shape[1] == 1
    filtered = pd.DataFrame({"id": np.arange(40), "a": np.arange(40) ** 2 % 7}, index=3 * np.arange(40))
    assert fit_encoder(filtered, np.arange(30))(filtered).shape[1] == 1, (
        "whatever the index of a user's frame"
    )


def test_a_table_in_another_encoding_is_told_with_what_to_do(tmp_path):
    (tmp_path / "a.csv").write_bytes("x,y\nZürich,1\n".encode("latin-1"))
    with pytest.raises(
        InputError, match=r'save it as UTF-8, in Python: pandas\.read_csv.*encoding="latin-1"'
    ):
        load(f"{tmp_path}/a.csv:y")


def test_a_parquet_file_is_the_frame_that_was_saved(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(60) * 7 % 60, unit="D")
    frame = pd.DataFrame(
        {"size": np.linspace(0, 1, 60), "sold": days, "kind": ["a", "b", None] * 20, "y": np.arange(60) % 2}
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "b.parquet")
    csv, parquet = load(f"{tmp_path}/a.csv:y"), load(f"{tmp_path}/b.parquet:y")
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(csv.splits[split].x, parquet.splits[split].x)
        np.testing.assert_array_equal(csv.splits[split].y, parquet.splits[split].y)
    assert csv.notes == parquet.notes
