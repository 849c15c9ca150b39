"""`Session.overlap`: work of the driver that is started while workers train."""

from study_samples import place

from ablate.study.driver import run_study
from ablate.study.request import find
from ablate.study.resume import session_of
from ablate.study.session import Session


def pending_when_called(here, executor: str) -> list[int]:
    """The number of pending jobs at each call of `overlap` in a search stage."""
    pending: list[int] = []
    options = here.options(executor)
    opened = find(str(here.folder / f"{here.name}.toml"), options)
    with session_of(opened, options) as session:
        assert isinstance(session, Session)
        session.overlap = lambda: pending.append(len(session._pending))
        run_study(session, options, ("search",))
        assert (session.overlap is None) == bool(pending)
    return pending


def test_it_is_called_once_when_a_worker_is_idle(tmp_path):
    pending = pending_when_called(place(tmp_path), "processes")
    assert len(pending) == 1
    assert pending[0] >= 1  # another worker trains


def test_it_is_not_called_where_the_driver_never_waits(tmp_path):
    assert pending_when_called(place(tmp_path), "inline") == []
