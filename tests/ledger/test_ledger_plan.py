"""Work left is a difference of two sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ledger_samples import sample

from ablate.ledger.plan import Progress, distinct, pending, progress

RUNS = [sample(number).run for number in range(8)]
picks = st.lists(st.sampled_from(RUNS))


@given(picks, st.sets(st.sampled_from([run.identity for run in RUNS])))
def test_pending_keeps_order_and_drops_finished_and_repeated(planned, finished):
    left = pending(iter(planned), finished)
    expected = []
    for run in planned:
        if run.identity not in finished and run not in expected:
            expected.append(run)
    assert left == expected
    assert pending(planned, {run.identity for run in planned}) == []
    counted = progress(planned, finished)
    assert counted.pending == len(left)
    assert counted.planned == len(distinct(planned)) == len({run.identity for run in planned})


def test_finished_runs_outside_the_plan_do_not_count():
    assert progress(RUNS[:3], {run.identity for run in RUNS[2:]}) == Progress(planned=3, finished=1)
