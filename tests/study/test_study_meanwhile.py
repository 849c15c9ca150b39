"""What the driver does while workers train."""

from study_samples import place

from ablate.study.driver import run_study
from ablate.study.resume import find, session_of
from ablate.study.session import Session


def begun(here, executor: str) -> list[int]:
    """How many groups were under way when the session began what it is to do meanwhile."""
    found: list[int] = []
    options = here.options(executor)
    opened = find(str(here.folder / f"{here.name}.toml"), options)
    with session_of(opened, options) as session:
        assert isinstance(session, Session)
        session.meanwhile = lambda: found.append(len(session._flying))
        run_study(session, options, ("search",))
        assert (session.meanwhile is None) == bool(found)
    return found


def test_it_is_begun_once_when_a_worker_has_nothing_to_do(tmp_path):
    found = begun(place(tmp_path), "processes")
    assert len(found) == 1
    assert found[0] >= 1  # others train


def test_where_nothing_is_waited_for_it_is_not_begun(tmp_path):
    assert begun(place(tmp_path), "inline") == []
