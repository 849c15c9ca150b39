"""What every test shares: one thread, a cache of its own, and where the real data is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch


def pytest_configure() -> None:
    torch.set_num_threads(1)
    if "ABLATE_CACHE" not in os.environ:  # measurements of the tests' models are not for the user's own cache
        os.environ["ABLATE_CACHE"] = tempfile.mkdtemp(prefix="ablate-tests-")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, or a skip that says what is missing."""
    given = os.environ.get("ABLATE_DATA", "")
    if not given or not Path(given).is_dir():
        pytest.skip("ABLATE_DATA does not name a folder with the real data sets")
    return Path(given)
