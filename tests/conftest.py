"""What every test shares: threads, a cache of its own, where the real data is, reports without finished drawings, and short measurements."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from undrawn import empty_drawing

OWN_CACHE = pytest.StashKey[str]()
LONGEST = ("test_study_kill.py", "test_lint.py")
"""Files with a test of a minute, which begin first: at the end, the other worker would have nothing to do meanwhile."""
ROOMS_OF_STUDIES = ("api", "cli", "docs", "export", "study")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start, too
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # by nohup or a shell's `&`; processes that tests start inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "ABLATE_CACHE" not in os.environ:  # measurements of the tests' models are not for the user's own cache
        config.stash[OWN_CACHE] = os.environ["ABLATE_CACHE"] = tempfile.mkdtemp(prefix="ablate-tests-")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(
        OWN_CACHE, ""
    ):  # only in the process that made it, which outlives its xdist workers
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["ABLATE_CACHE"]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, or a skip that says what is missing."""
    given = os.environ.get("ABLATE_DATA", "")
    if not given or not Path(given).is_dir():
        pytest.skip("ABLATE_DATA does not name a folder with the real data sets")
    return Path(given)


@contextmanager
def _undrawn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", empty_drawing)
        yield


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Pictures are painted but neither laid out nor written: most of the time that a report takes."""
    with _undrawn():
        yield


@pytest.fixture(scope="module", autouse=True)
def undrawn_elsewhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """`undrawn` for every test outside tests/report."""
    if request.path.parent.name == "report":
        yield
    else:
        with _undrawn():
            yield


@pytest.fixture(scope="module", autouse=True)
def short_measurements(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a study times is timed once, and its kernel is the default one on every machine.

    A module whose tests are about the timings has a fixture of the same name that does nothing.
    """
    if request.path.parent.name not in ROOMS_OF_STUDIES:
        yield
        return
    from ablate.lanes import autotune
    from ablate.study import costs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autotune, "ROUNDS", 1)
        patch.setattr(autotune, "NEARLY", float("inf"))
        patch.setattr(autotune, "timed", partial(autotune.timed, steps=1))
        patch.setattr(costs, "STEPS", 2)
        patch.setattr(costs, "WARM", 1)
        yield


@pytest.fixture(autouse=True)
def no_forward_pass_is_left_open() -> Iterator[None]:
    """A forward pass that a test left half-way would change what the layers of later tests draw."""
    yield
    from ablate.seams.draws import count_calls

    assert count_calls(None) is None, "the test ends within a forward pass"
