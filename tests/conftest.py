"""What every test shares: threads, a cache of its own, where the real data is, and reports without finished drawings."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from undrawn import empty_drawing

OWN_CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start, too
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # by nohup or a shell's `&`; processes that tests start inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "ABLATE_CACHE" not in os.environ:  # measurements of the tests' models are not for the user's own cache
        config.stash[OWN_CACHE] = os.environ["ABLATE_CACHE"] = tempfile.mkdtemp(prefix="ablate-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if own := config.stash.get(
        OWN_CACHE, ""
    ):  # only in the process that made it, which outlives its xdist workers
        shutil.rmtree(own, ignore_errors=True)
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
