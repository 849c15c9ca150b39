"""Parts of a stage in turn: each as if it were alone, and none waits for another's runs."""

from __future__ import annotations

import pytest

from ablate.records.recipe import Recipe
from ablate.study.ranking.rounds import Rounds, Rows, in_turn

EMPTY = Recipe({})


def part(name: str, rounds: int) -> Rounds[list[float]]:
    """Asks for one run a round, whose seed is the sum of the scores so far."""
    scores: list[float] = []
    for _ in range(rounds):
        scores += yield [(name, EMPTY, int(sum(scores)))]
    return scores


def score(rows: Rows) -> list[float]:
    return [2.0 * seed + len(name) for name, _, seed in rows]


@pytest.mark.parametrize("rounds", [(), (3,), (0, 2), (1, 4, 2)])
def test_each_part_has_the_result_that_it_has_alone(rounds: tuple[int, ...]) -> None:
    names = ["a", "bb", "ccc"]
    alone = [in_turn([part(name, n)], score)[0] for name, n in zip(names, rounds, strict=False)]
    together = in_turn([part(name, n) for name, n in zip(names, rounds, strict=False)], score)
    assert together == alone
    assert [len(scores) for scores in together] == list(rounds)


def test_the_runs_of_other_parts_are_started_before_the_scores_of_one_are_awaited() -> None:
    started: list[str] = []
    running_while_waiting: list[int] = []

    def submit(rows: Rows) -> None:
        started.append(rows[0][0])

    def wait(rows: Rows) -> list[float]:
        started.remove(rows[0][0])
        running_while_waiting.append(len(started))
        return score(rows)

    in_turn([part("a", 4), part("bb", 4)], wait, submit)
    assert running_while_waiting == [1] * 7 + [0]


def test_an_error_of_a_run_ends_all_parts() -> None:
    def fail(rows: Rows) -> list[float]:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        in_turn([part("a", 2), part("b", 2)], fail)
