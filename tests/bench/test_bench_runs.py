"""The benchmark's two sides on a CPU: the plain loop, the solo loops, processes, and small parts from end to end."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from functools import partial

import pytest
import torch

from ablate.tasks.load import load
from bench import common, grids, group, lanes, plain, solo, trials
from bench.together import in_processes

CPU = torch.device("cpu")
ASKED = {
    "optimizer": "adam", "lr": 0.01, "batch_size": 64, "weight_decay": 1e-4, "label_smoothing": 0.1, "dropout": 0.2,
    "norm": "batch", "activation": "gelu", "clip": 1.0, "cosine": True,
}  # fmt: skip


@pytest.fixture
def one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads a process, on a busy machine, wait for each other for tens of seconds."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def curve(**options: torch.device) -> list[float]:
    seen: list[float] = []
    task = load("breast-cancer").but(epochs=3)
    last = plain.train(task, ASKED, 7, lambda _, accuracy: seen.append(accuracy), **options)
    assert seen[-1] == last
    return seen


def test_the_plain_loop_on_a_cpu_by_name_is_that_by_default():
    by_default = curve()
    assert len(by_default) == 3
    assert curve(device=CPU) == by_default


def test_the_plain_loop_puts_all_of_its_work_on_the_device_it_is_given():
    """The meta device computes nothing: the loop gets to where it asks for a number, and no tensor was left behind."""
    with pytest.raises((RuntimeError, NotImplementedError), match=r"item\(\) cannot be called on meta"):
        curve(device=torch.device("meta"))


def test_the_plain_search_counts_its_steps():
    task = load("breast-cancer").but(epochs=1)
    steps = plain.search(task, 2, seed=1, device=CPU)
    least, most = (2 * (len(task.train.x) // size) for size in (max(plain.SIZES), min(plain.SIZES)))
    assert least <= steps <= most


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("side", [solo.plain, solo.resident])
def test_solo_loops_take_a_time(side: Callable[..., float], bf16: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(solo, "STEPS", {"cpu": 2})
    assert 0 < side(load("breast-cancer"), CPU, bf16=bf16) < math.inf


def test_bfloat16_is_asked_for_on_both_sides():
    assert group.recipe_of(0.1, bf16=True)["amp"] == {"dtype": "bfloat16"}
    assert "amp" not in group.recipe_of(0.1, bf16=False)
    a = torch.ones(4, 4)
    with solo.precision(CPU, bf16=True):
        assert (a @ a).dtype == torch.bfloat16
    with solo.precision(CPU, bf16=False):
        assert (a @ a).dtype == torch.float32


def returns(value: float) -> Callable[[], float]:
    return partial(float, value)


def fails() -> Callable[[], float]:
    raise RuntimeError("on purpose")


@pytest.mark.slow
def test_processes_share_the_time_and_a_failure_is_told(capfd: pytest.CaptureFixture[str]):
    assert in_processes(partial(returns, 3.0), 2) == 1.5
    assert math.isnan(in_processes(fails, 1))
    assert "on purpose" in capfd.readouterr().err


@pytest.mark.bench
@pytest.mark.usefixtures("one_thread_each")
def test_trials_from_end_to_end(capsys: pytest.CaptureFixture[str]):
    trials.main(
        ["--trials", "4", "--epochs", "1", "--repeats", "1", "--tasks", "breast-cancer", "--device", "cpu"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == common.hardware(CPU)
    assert "n = 1" in lines[1]
    assert lines[2].startswith("left out: ")
    assert lines[3].startswith("breast-cancer: plain ")
    assert "(target 8)" in lines[5]


@pytest.mark.bench
@pytest.mark.usefixtures("one_thread_each")
def test_an_absolute_time_from_end_to_end(capsys: pytest.CaptureFixture[str]):
    trials.main(
        [
            "--trials",
            "4",
            "--epochs",
            "1",
            "--repeats",
            "1",
            "--tasks",
            "digits",
            "--device",
            "cpu",
            "--own-only",
        ]
    )
    output = capsys.readouterr().out
    assert "4 trials × 1 epochs, and 15 runs of finalists: an absolute time" in output
    assert "plain" not in output


@pytest.mark.bench
@pytest.mark.usefixtures("one_thread_each")
def test_grids_from_end_to_end(capsys: pytest.CaptureFixture[str]):
    grids.main(["--repeats", "1", "--tasks", "wine", "--device", "cpu"])
    output = capsys.readouterr().out
    assert "(target 4 for the grids alone)" in output
    assert "grids alone: one after another" in output
    seconds_alone, whole = (float(seconds) for seconds in re.findall(r", ablate ([\d.]+) s", output))
    assert 0 < seconds_alone < whole


@pytest.mark.slow
def test_lanes_from_end_to_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # no processes: they have a test of their own
    monkeypatch.setattr(solo, "STEPS", {"cpu": 4})
    monkeypatch.setattr(lanes, "SIZES", {"cpu": 256})
    lanes.main(["--repeats", "1", "--tasks", "wine", "--device", "cpu", "--bf16"])
    output = capsys.readouterr().out
    assert output.count("  plain: ") == output.count("  one lane: ") == 2
    assert "float32, kernel" in output
    assert "bfloat16, kernel" in output
    assert "graph" not in output.lower()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("bf16", [False, True])
def test_the_graphed_loop_trains_on_a_gpu(bf16: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(solo, "STEPS", {"cuda": 5})
    device = torch.device("cuda")
    assert 0 < solo.resident(load("digits"), device, graph=True, bf16=bf16) < math.inf
    assert lanes.GRAPHED in lanes.sides("digits", device, bf16=bf16)[1]
    assert plain.train(load("digits").but(epochs=5), ASKED, 0, device=device) > 0.5
