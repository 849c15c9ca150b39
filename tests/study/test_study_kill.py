"""kill -9 of a running study: nothing lost, nothing twice, the same numbers in the end, no process left behind."""

import pytest

from bench.chaos.kills import chaos


@pytest.mark.slow
def test_four_kills_lose_and_repeat_nothing(tmp_path):
    """At a fifth, nine tenths, two fifths and four fifths of a study's time; `make chaos` kills hundreds of times."""
    count = chaos(tmp_path, 4, ("inline", "inline", "inline", "processes"), seed=154, report=False)
    assert count.kills == 4
    assert count.clean, count.line()
    assert len(count.moments) >= 2, "the kills should be spread over the stages"
