"""kill -9 of a running study: nothing lost, nothing twice, the same numbers in the end, no process left behind."""

import pytest

from bench.chaos import chaos


@pytest.mark.slow
def test_twenty_kills_lose_and_repeat_nothing(tmp_path):
    count = chaos(tmp_path, 20, ("inline", "inline", "inline", "processes"), seed=11)
    assert count.kills == 20
    assert count.clean, count.line()
    assert len(count.moments) >= 2, "the kills should be spread over the stages"
