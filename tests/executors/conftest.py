"""What a worker does once in its process is undone where that process is the one of the tests."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True)
def collector_sees_everything():
    """`remote.work` freezes its process's objects, which libraries that ask for referrers then miss."""
    yield
    gc.unfreeze()
