"""Designs: orthogonality for every size, foldover, blocks, waves, slots, roles, JSON."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep import sweep

from ablate.ranking.designs.aliases import alias_table
from ablate.ranking.designs.design import Design, Factor, check_factors, with_placebo
from ablate.ranking.designs.factorial import add_one, drop_one, full_factorial, pilot
from ablate.ranking.designs.hadamard import hadamard, order_above
from ablate.ranking.designs.screening import screening
from ablate.records.errors import InputError

# First rows of Plackett & Burman, Biometrika 33 (1946), p. 323, cyclic designs.
PUBLISHED = {
    12: "++-+++---+-",
    20: "++--++++-+-+----++-",
    24: "+++++-+-++--++--+-+----",
}


def tricks(k: int) -> tuple[Factor, ...]:
    return tuple(Factor(f"t{i}") for i in range(k))


def signs(design: Design) -> np.ndarray:
    frame = design.frame()
    return np.where(frame[[f.name for f in design.factors]].to_numpy() == "on", 1, -1)


@sweep("order", range(4, 49, 4))
def test_hadamard_is_orthogonal_with_a_constant_column(order: int) -> None:
    matrix = hadamard(order).astype(int)
    assert set(np.unique(matrix)) == {-1, 1}
    assert (matrix.T @ matrix == order * np.eye(order)).all()
    assert (matrix[:, 0] == 1).all()


@pytest.mark.parametrize("order", [0, 2, 6, 50, 52])
def test_no_hadamard_of_other_orders(order: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        hadamard(order)


@pytest.mark.parametrize("order", sorted(PUBLISHED))
def test_the_published_first_row_generates_the_same_design(order: int) -> None:
    """Ours and the published cyclic array have the same row Gram spectrum of triple products (J-characteristics)."""
    row = np.array([1 if sign == "+" else -1 for sign in PUBLISHED[order]])
    cyclic = np.array([np.roll(row, shift) for shift in range(order - 1)] + [-np.ones(order - 1, dtype=int)])
    full = np.concatenate([np.ones((order, 1), dtype=int), cyclic], axis=1)
    assert (full.T @ full == order * np.eye(order)).all()

    def triples(columns: np.ndarray) -> list[int]:
        return sorted(
            abs(int((columns[:, list(c)]).prod(axis=1).sum())) for c in combinations(range(order - 1), 3)
        )

    assert triples(hadamard(order)[:, 1:].astype(int)) == triples(cyclic)


@pytest.mark.parametrize(
    ("k", "order"),
    [(1, 4), (3, 4), (4, 8), (7, 8), (8, 12), (11, 12), (12, 16), (43, 44), (44, 48), (47, 48)],
)
def test_the_order_is_the_smallest_above(k: int, order: int) -> None:
    assert order_above(k) == order


@sweep("k", range(1, 48))
def test_every_size_is_orthogonal_to_itself_its_blocks_and_all_interactions(k: int) -> None:
    for wave in (1, 2):
        design = screening(tricks(k), wave=wave, seed=7)
        x = signs(design)
        n = len(x)
        assert n == (2 * order_above(k) if k > 4 else 16)
        assert (x.T @ x == n * np.eye(k)).all()
        blocks = design.frame()["block"].to_numpy()
        for block in np.unique(blocks):
            assert (x[blocks == block].sum(axis=0) == 0).all()
        products = np.array([x[:, i] * x[:, j] for i, j in combinations(range(k), 2)]).reshape(-1, n)
        assert (products @ x == 0).all()


def test_two_halves_are_mirror_images_with_a_seed_each() -> None:
    design = screening(tricks(9), wave=1, seed=0)
    frame = design.frame()
    assert frame.groupby("block")["seed"].nunique().eq(1).all()
    assert frame["seed"].nunique() == 2
    first, second = (signs(design)[frame["block"] == block] for block in (0, 1))
    assert {tuple(row) for row in first} == {tuple(-row) for row in second}


def test_no_run_stands_twice() -> None:
    for k in range(1, 48):
        frame = screening(tricks(k), wave=1, seed=k).frame()
        names = [f"t{i}" for i in range(k)]
        assert not frame.duplicated([*names, "seed"]).any()


def test_waves_differ_in_columns_signs_seeds_and_blocks_and_are_reproducible() -> None:
    waves = [screening(tricks(12), wave=w, seed=5) for w in (1, 2, 3)]
    assert waves[0] == screening(tricks(12), wave=1, seed=5)
    assert waves[0] != screening(tricks(12), wave=1, seed=6)
    tables = [{tuple(row) for row in signs(wave)} for wave in waves]
    assert tables[0] != tables[1] != tables[2] != tables[0]
    seeds = [row.seed for wave in waves for row in wave.rows]
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert [sorted({row.block for row in wave.rows}) for wave in waves] == [[0, 1], [2, 3], [4, 5]]


def test_signs_are_drawn_anew() -> None:
    """Seven tricks use every column of order 8: only signs decide whether all-on is among the runs."""
    present = {bool((signs(screening(tricks(7), wave=1, seed=s)) == 1).all(axis=1).any()) for s in range(60)}
    assert present == {True, False}


def test_over_waves_every_column_of_the_array_serves_every_trick() -> None:
    """Randomisation: which pairs a trick's interactions are confounded with changes from wave to wave."""
    partners = []
    for wave in range(1, 6):
        table = alias_table(screening(tricks(12), wave=wave, seed=1), threshold=0.999)
        partners.append({frozenset((row.effect, row.other)) for row in table.itertuples()})
    assert len(set.intersection(*partners)) < min(map(len, partners)) / 4


def test_slots_are_balanced_and_orthogonal_to_two_level_tricks() -> None:
    slots = (
        Factor("optimizer", ("sgd", "adam", "lion")),
        Factor("norm", ("batch", "layer", "group", "none")),
    )
    for seed in range(5):
        design = screening((*tricks(10), *slots), wave=1, seed=seed)
        frame = design.frame()
        for slot in slots:
            counts = frame[slot.name].value_counts()
            assert set(counts.index) == set(slot.levels)
            assert counts.max() - counts.min() <= 2
        table = alias_table(design, threshold=1e-6)
        main = table[table["orders"] == "main/main"]
        between = main[~(main["effect"].str.contains("=") & main["other"].str.contains("="))]
        assert between.empty


def test_conditional_tricks_are_off_under_a_parent_that_is_off_and_repeats_have_their_own_seed() -> None:
    factors = (
        *tricks(2),
        Factor("child", role="conditional", parent="t0"),
        Factor("grandchild", role="conditional", parent="child"),
    )
    for wave in (1, 2):
        frame = screening(factors, wave=wave, seed=3).frame()
        assert (frame.loc[frame["t0"] == "off", "child"] == "off").all()
        assert (frame.loc[frame["child"] == "off", "grandchild"] == "off").all()
        assert not frame.duplicated(["t0", "t1", "child", "grandchild", "seed"]).any()
    wide = screening((*tricks(8), Factor("child", role="conditional", parent="t0")), wave=1, seed=0)
    assert not alias_table(wide, threshold=1e-6)["orders"].eq("main/main").any()


def test_must_haves_are_fixed_on() -> None:
    factors = (*tricks(6), Factor("norm", role="must_have"))
    frame = screening(factors, wave=1, seed=0).frame()
    assert (frame["norm"] == "on").all()
    with pytest.raises(InputError, match="must_have"):
        screening((Factor("norm", role="must_have"),), wave=1, seed=0)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_few_tricks_get_every_combination_under_two_seeds_or_more(k: int) -> None:
    frame = screening(tricks(k), wave=1, seed=0).frame()
    names = [f"t{i}" for i in range(k)]
    assert frame.groupby(names).size().eq(16 // 2**k).all()
    assert frame["seed"].nunique() >= 2


def test_drop_one_add_one_pilot_and_factorial() -> None:
    factors = (Factor("a"), Factor("slot", ("x", "y", "z")), Factor("kid", role="conditional", parent="a"))
    dropped = drop_one(factors, [11, 12], shipped={"slot": "z"}).frame()
    assert len(dropped) == 2 * 4
    one = {tuple(row) for row in dropped.loc[dropped["seed"] == 11, ["a", "slot", "kid"]].to_numpy()}
    assert one == {("on", "z", "on"), ("off", "z", "off"), ("on", "x", "on"), ("on", "z", "off")}
    added = add_one(factors, [1]).frame()
    assert {tuple(row) for row in added[["a", "slot", "kid"]].to_numpy()} == {
        ("off", "x", "off"), ("on", "x", "off"), ("off", "y", "off"), ("off", "z", "off"), ("on", "x", "on"),
    }  # fmt: skip
    assert len(pilot(factors, seed=0).rows) == 6
    assert len(full_factorial(factors, seeds=[1, 2]).rows) == 2 * (3 + 6)
    with pytest.raises(InputError, match="different seeds"):
        drop_one(factors, [1, 1])
    with pytest.raises(InputError, match="did you mean 'slot'"):
        drop_one(factors, [1], shipped={"slott": "z"})


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 15), wave=st.integers(1, 3), seed=st.integers(0, 2**40), slot=st.integers(2, 5))
def test_a_design_survives_json(k: int, wave: int, seed: int, slot: int) -> None:
    factors = with_placebo((*tricks(k), Factor("slot", tuple("abcde"[:slot]))))
    design = screening(factors, wave=wave, seed=seed)
    assert Design.from_json(json.loads(json.dumps(design.to_json()))) == design


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"kind": "scrining"},
        {"rows": [{"levels": {}}]},
        {"rows": [{"levels": {}, "seed": 1, "block": 0, "wave": 1}]},
        {"factors": [{}]},
    ],
)
def test_a_damaged_design_is_one_line(change: dict[str, object]) -> None:
    plain = screening(tricks(2), wave=1, seed=0).to_json() | change
    with pytest.raises(InputError) as caught:
        Design.from_json(plain)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        ((), "no trick"),
        ((Factor("a"), Factor("a")), "listed twice"),
        ((Factor("a"), Factor("b", role="conditional", parent="c")), "unknown parent"),
        (
            (Factor("a", role="conditional", parent="b"), Factor("b", role="conditional", parent="a")),
            "its own parent",
        ),
    ],
)
def test_wrong_factors(factors: tuple[Factor, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_factors(factors)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Factor("seed"),
        lambda: Factor(""),
        lambda: Factor("a", ("on",)),
        lambda: Factor("a", ("on", "on")),
        lambda: Factor("a", role="must_hav"),  # type: ignore[arg-type]
        lambda: Factor("a", role="conditional"),
        lambda: Factor("a", parent="b"),
        lambda: screening(tricks(48), wave=1, seed=0),
        lambda: screening(tricks(5), wave=0, seed=0),
        lambda: full_factorial(tricks(13), seeds=[1]),
    ],
)
def test_what_cannot_be_designed_is_an_input_error(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError):
        make()


def test_alias_table_names_what_a_regular_array_confounds() -> None:
    """Order 8, seven tricks: three two-factor interactions to a chain, main effects clear thanks to the foldover."""
    table = alias_table(screening(tricks(7), wave=1, seed=0), threshold=0.999)
    assert set(table["orders"]) == {"two-factor/two-factor"}
    assert len(table) == 7 * 3
    assert (table["correlation"].abs() > 0.999).all()
