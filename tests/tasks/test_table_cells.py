"""A few cells of a table that are not what the rest of their column is: told by column, number, example and row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablate.api.open_task import open_task
from ablate.api.stages import shown_for
from ablate.records.errors import InputError
from ablate.study.request import Options
from ablate.tasks.describe import describe
from ablate.tasks.load import load
from ablate.tasks.metric_table import unit_of
from ablate.tasks.table_cells import stray_cells
from ablate.tasks.tabular import fit_encoder
from ablate.tasks.task import Task

ROWS = 1500
EVERY = np.arange(ROWS)
AGES = np.random.default_rng(0).normal(40, 10, ROWS).round(3)
DAYS = pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d")


def with_cells(values, *cells: tuple[int, object]) -> list[object]:
    """`values` as a list with some cells replaced."""
    changed = list(values)
    for row, cell in cells:
        changed[row] = cell
    return changed


def saved(tmp_path, **columns: object) -> str:
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    return f"{tmp_path}/t.csv"


def test_a_column_of_numbers_stays_one_and_its_other_cells_are_missing(tmp_path):
    dirty = with_cells(AGES, (17, "unknown"), (900, "n.k."))
    path = saved(tmp_path, age=dirty, y=EVERY % 2)
    note = "age: 2 of 1,500 cells are no numbers ('unknown' at row 17, the first is 0); taken as missing"
    assert note in load(f"{path}:y").notes
    gaps = with_cells(AGES, (17, None), (900, None))
    table, clean = (pd.DataFrame({"age": values, "y": EVERY % 2}) for values in (dirty, gaps))
    task, same = Task.from_table(table, "y"), Task.from_table(clean, "y")
    np.testing.assert_array_equal(task.train.x, same.train.x)
    np.testing.assert_array_equal(task.encode(table), same.encode(clean))  # type: ignore[misc]
    assert task.train.x.shape[1] == 2, "the number, and the mark of a gap"


def test_rows_are_those_of_the_file_also_where_some_have_no_target(tmp_path):
    target = with_cells(EVERY % 2, *((row, None) for row in range(10)))
    path = saved(tmp_path, age=with_cells(AGES, (17, "unknown")), y=target)
    assert "1 of 1,490 cells is no number ('unknown' at row 17" in " ".join(load(f"{path}:y").notes)


def test_a_column_of_dates_stays_one():
    table = pd.DataFrame({"day": with_cells(DAYS, (3, "never"))})
    encoder = fit_encoder(table, EVERY)
    assert list(encoder.dates) == ["day"]
    assert (
        "day: 1 of 1,500 cells is no date ('never' at row 3, the first is 0); taken as missing"
        in encoder.notes
    )
    late = pd.DataFrame({"day": with_cells(DAYS, (1499, "2024-99-99"))})
    assert "'2024-99-99' at row 1499" in " ".join(fit_encoder(late, EVERY[:1000]).notes)


@pytest.mark.parametrize(
    "values",
    [
        AGES,
        with_cells(AGES, *((row, "unknown") for row in range(0, ROWS, 10))),  # a tenth of the cells
        with_cells([f"{number:05d}" for number in EVERY], (3, "none")),  # post codes
        with_cells(["a", "b"] * 750, (3, 1.0)),
        with_cells([True, False] * 750, (3, "?")),
    ],
    ids=["clean", "many", "codes", "words", "booleans"],
)
def test_other_columns_are_what_they_were(values):
    assert stray_cells(pd.Series(values)) is None


def test_new_rows_with_a_cell_that_is_no_number_are_refused_by_a_column_that_had_none():
    encoder = fit_encoder(pd.DataFrame({"age": AGES}), EVERY)
    with pytest.raises(InputError, match=r"column 'age': 1 of 1,500 cells is no number \('x' at row 5"):
        encoder(pd.DataFrame({"age": with_cells(AGES, (5, "x"))}))


TARGETS = {
    "numbers": (with_cells(AGES, (17, "unknown"), (20, "unknown")), "is numeric but for some cells: 2 of 1,500 cells are no numbers ('unknown' at row 17, the first is 0); correct them, or leave them empty"),
    "numbers, a third of them dirty": (with_cells(AGES, *((row, f"{row} kg") for row in range(0, ROWS, 3))), "500 of 1,500 cells are no numbers ('0 kg' at row 0"),
    "dates": (DAYS, "holds dates, and a date is neither a class nor a number; predict a number that is made from it"),
    "dates of either order": ([f"{1 + i % 12:02d}/{1 + i % 11:02d}/{2000 + i % 20}" for i in EVERY], "holds dates"),
    "times": (pd.date_range("2020-01-01", periods=ROWS, freq="h"), "holds dates"),
    "names": ([f"name {i}" for i in EVERY], "has 1500 classes in 1500 rows"),
}  # fmt: skip


@pytest.mark.parametrize(("target", "message"), TARGETS.values(), ids=TARGETS)
def test_a_target_that_cannot_be_predicted_is_told_with_its_cell_and_the_way_out(target, message):
    with pytest.raises(InputError) as error:
        Task.from_table(pd.DataFrame({"x": AGES, "y": target}), "y")
    assert message in str(error.value)


def test_a_target_of_numbers_is_told_to_be_standardised():
    frame = pd.DataFrame({"x": AGES, "y": 3 * AGES + 1})
    task = Task.from_table(frame, "y")
    assert task.target_deviation == pytest.approx(30, rel=0.1)
    facts = describe(task)
    assert facts["target_deviation"] == task.target_deviation
    assert "rmse and mae are in such deviations (SD)" in " ".join(facts["notes"])
    assert load("diabetes").target_deviation == pytest.approx(77, rel=0.1)
    shown = shown_for(open_task(task.but(name="houses"), Options()), quiet=True)
    shown.best = 0.5
    assert shown._counts_text().endswith("best validation/rmse 0.5000 SD")
    assert unit_of("validation/r2", task.target_deviation) == unit_of("validation/rmse", None) == ""


def test_few_classes_that_are_numbers_and_dates_are_classes():
    frame = pd.DataFrame({"x": AGES, "y": with_cells(EVERY % 3, (17, "unknown"))})
    task = Task.from_table(frame, "y")
    assert task.labels == ("0", "1", "2", "unknown")
    assert "y: 1 of 1,500 cells is no number ('unknown' at row 17, the first is 0); counted as a class" in " ".join(task.notes)  # fmt: skip
    quarters = pd.DataFrame({"x": AGES, "y": np.array(["2024-01-01", "2024-04-01"])[EVERY % 2]})
    assert Task.from_table(quarters, "y").criterion == "classification"
