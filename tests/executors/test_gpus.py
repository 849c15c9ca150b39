"""Several GPUs: one worker each, tested without any, on a torch that says that it has some."""

from __future__ import annotations

import os
import re
from pathlib import Path

import executor_calls as calls
import pytest
import torch

import ablate
from ablate.executors.gpus import VARIABLE, gpus_for, visible_gpus
from ablate.executors.processes import Processes
from ablate.study.request import Options
from ablate.study.resume import worker_count


@pytest.fixture
def machine(monkeypatch):
    """Sets the number of GPUs, and CUDA_VISIBLE_DEVICES."""

    def set_up(count, visible=None):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.delenv(VARIABLE, raising=False)
        if visible is not None:
            monkeypatch.setenv(VARIABLE, visible)

    return set_up


@pytest.mark.parametrize(
    ("count", "visible", "expected"),
    [
        (4, None, ("0", "1", "2", "3")),
        (2, "3,1", ("3", "1")),
        (2, "GPU-8932f937, GPU-46d7a5b1", ("GPU-8932f937", "GPU-46d7a5b1")),
        (1, "0,9,2", ("0",)),  # CUDA ignores what follows an invalid index
        (0, "", ()),
        (0, None, ()),
    ],
)
def test_visible_gpus(machine, count, visible, expected):
    machine(count, visible)
    assert visible_gpus() == expected


def test_cuda_means_all_gpus_and_an_index_one(machine):
    machine(3)
    assert gpus_for(torch.device("cuda")) == ("0", "1", "2")
    for device in ("cuda:1", "cpu"):
        assert gpus_for(torch.device(device)) == ()
    counts = {
        name: worker_count(Options(executor=name), torch.device("cuda"))
        for name in ("auto", "processes", "inline")
    }
    assert counts == {"auto": 3, "processes": 3, "inline": 1}
    assert worker_count(Options(), torch.device("cuda:2")) == 1
    machine(1)
    assert gpus_for(torch.device("cuda")) == ()
    assert worker_count(Options(), torch.device("cuda")) == 1


def test_every_worker_sees_a_gpu_of_its_own(tmp_path):
    with Processes(2, gpus=("GPU-a", "5")) as pool:
        futures = [pool.call(calls.gpu_when_all_have_come, tmp_path, 2) for _ in range(2)]
        assert {future.result(timeout=120) for future in futures} == {"GPU-a", "5"}
    assert os.environ.get(VARIABLE) not in ("GPU-a", "5")


ASKS = re.compile(
    r"torch\.cuda|device\.type\b|is_cuda|pin_memory|[\"']cuda|device == \"cpu\"|CUDA_VISIBLE_DEVICES"
)
"""How code asks what kind of device it is on."""


def test_every_branch_for_gpus_is_listed_with_what_must_be_checked():
    package = Path(ablate.__file__).parent
    page = (package.parent / "docs" / "gpu.md").read_text()
    asking = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if ASKS.search(path.read_text(encoding="utf-8"))
    }
    assert len(asking) > 20
    assert {file for file in asking if f"`{file}`" not in page} == set()
    listed = set(re.findall(r"`([\w/]+\.py)`", page.partition("## Branches")[2]))
    assert {file for file in listed if "/" in file and not (package / file).is_file()} <= {
        "tests/lanes/test_cuda_branches.py", "tests/lanes/test_graph.py", "tests/executors/test_gpus.py",
        "tests/executors/test_clusters.py", "tests/search/test_generation_size.py",
        "tests/surgery/test_functional_activations.py",
    }  # fmt: skip
