"""`sweep` runs every case, names those that fail, and leaves fixtures and marks to pytest."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep import sweep


def test_every_case_runs_and_each_failure_names_its_case() -> None:
    seen: list[int] = []

    @sweep("seed", range(5))
    def even(seed: int) -> None:
        seen.append(seed)
        assert seed % 2 == 0

    with pytest.raises(ExceptionGroup, match="2 of 5 cases of even failed") as caught:
        even()
    assert seen == [0, 1, 2, 3, 4]
    assert [error.__notes__ for error in caught.value.exceptions] == [
        ["case: {'seed': 1}"],
        ["case: {'seed': 3}"],
    ]


def test_a_case_that_skips_is_an_error() -> None:
    @sweep("seed", range(2))
    def skipping(seed: int) -> None:
        pytest.skip("not here")

    with pytest.raises(RuntimeError, match="must not skip"):
        skipping()


@pytest.mark.parametrize("third", [1, 2])
@sweep("first, second", [(1, 2), (3, 4)])
def test_fixtures_and_parameters_are_those_of_pytest(
    first: int, second: int, third: int, tmp_path: Path
) -> None:
    assert second == first + 1
    assert third in (1, 2)
    assert tmp_path.is_dir()
