"""kill -9 of a running study: nothing lost, nothing twice, the same numbers in the end, no process left behind."""

import pytest

from bench.chaos.kills import chaos


@pytest.mark.slow
def test_fifty_kills_lose_and_repeat_nothing(tmp_path):
    """At random moments of a dozen studies; `make chaos` kills a thousand times, a third of them with worker processes, whose start takes seconds."""
    kinds = (*("inline",) * 24, "processes", *("inline",) * 24, "workers")
    count = chaos(tmp_path, 50, kinds, seed=154, report=False)
    assert count.kills == 50
    assert count.workers >= 1
    assert count.clean, count.line()
    assert len(count.moments) >= 5, "the kills should be spread over the stages"
