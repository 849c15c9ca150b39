"""lr-find, search, rank, report and export of tasks with another kind of training: two networks, and a detector."""

from __future__ import annotations

from pathlib import Path

import pytest

import ablate
from ablate.api.exporting import export_study
from ablate.ledger.store import Ledger

TASK = """
import torch
from torch import nn
import ablate
from ablate.tasks.detector import Predictions

draws = torch.Generator().manual_seed(1)
points = torch.randn(96, 2, generator=draws)


def generator():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def critic():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))


def detector():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 24), nn.Unflatten(1, (6, 2, 2)), Predictions(4)
    )


left = torch.arange(96) % 2 == 0
boxes = torch.where(left[:, None], torch.tensor([0.0, 0, 0, 4, 8]), torch.tensor([1.0, 4, 0, 8, 8]))[:, None]
scenes = 0.1 * torch.randn(96, 1, 8, 8, generator=draws)
scenes[left, :, :, :4] += 1
pair = ablate.gan_task(generator, critic, points, latent=3, epochs=2, batch_size=16, name="pair")
boxed = ablate.Task(detector, (scenes, boxes), criterion="detection", epochs=12, batch_size=16, name="boxed")
"""
STUDY = """task = "own.py:{task}"
[baseline]
optimizer = {{ name = "adam", lr = "lr-find" }}
[space]
include = [{tricks}]
[search]
trials = 3
[rank]
design = "screening"
waves = 1
[confirm]
seeds = 2
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "tricks"),
    [
        ("pair", ["wgan_clip", "wgan_gp", "one_sided_smoothing", "critic_steps", "placebo"]),
        ("boxed", ["nms", "soft_nms", "sigmoid_focal", "placebo"]),
    ],
)
def test_every_step_of_a_study(
    task: str, tricks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(TASK)
    (tmp_path / "small.toml").write_text(
        STUDY.format(task=task, tricks=", ".join(f'"{trick}"' for trick in tricks))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    ablate.study(
        "small.toml",
        stages=["lr-find", "search", "rank", "confirm", "report"],
        executor="inline",
        device="cpu",
        quiet=True,
    )
    with Ledger.open(tmp_path / "studies/small.db", write=False) as ledger:
        facts = ledger.facts()
    assert not any(step["verdict"] == "fail" for step in facts["lr-find"]["steps"])
    page = (tmp_path / "reports/small/index.html").read_text()
    assert all(trick in page for trick in tricks)
    done = export_study("small.toml")
    assert {"recipe", "weights"} <= set(done.files)
    assert "script" not in done.files
    assert any("a script of a task of" in line for line in done.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "tricks"), [("pair", ["wgan_clip", "layer_norm"]), ("boxed", ["nms", "ema"])]
)
def test_tuned_arms_end_in_an_action(
    task: str, tricks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default design: an effect for every trick that applies, and a recipe that was compared on fresh seeds."""
    (tmp_path / "own.py").write_text(TASK)
    names = ", ".join(f'"{trick}"' for trick in tricks)
    text = STUDY.format(task=task, tricks=names).replace(
        'design = "screening"\nwaves = 1', 'budget = "200runs"'
    )
    (tmp_path / "small.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    study = ablate.study("small.toml", executor="inline", device="cpu", quiet=True)
    assert set(tricks) < set(study.ranking["trick"])
    assert study.ranking["verdict"].notna().all()
    assert set(study.data.confirm["arms"]) >= {"winner"}
    assert study.verdict.headline
