"""`ablate.inspect` and `ablate.plan`: what is known before anything is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ablate

X = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
DATA = (X, (X[:, 0] > 0).long())


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def test_a_model_is_inspected():
    seen = ablate.inspect(model=net, data=DATA, device="cpu")
    assert isinstance(seen, ablate.Inspection)
    assert seen.parameters == sum(weight.numel() for weight in net().parameters())
    assert seen.verdict == "healthy"
    assert list(seen.layers["kind"]) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    why = seen.tricks.set_index("trick")["why_not"]
    assert why["remove_norm"] == ""
    assert "no dropout" in why["remove_dropout"]
    assert "at initialisation: healthy" in repr(seen)
    assert "<table" in seen._repr_html_()
    with pytest.raises(ablate.InputError, match="does not change the model"):
        ablate.inspect(model=net, data=DATA, device="cpu", with_="mixup")


def test_a_study_is_planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = ablate.plan(
        model=net, data=DATA, trials=5, epochs=2, include=["dropout", "weight_decay"], design="add-one", executor="inline", device="cpu"
    )  # fmt: skip
    assert isinstance(planned, ablate.StudyPlan)
    assert planned.tricks == ("dropout", "weight_decay")
    assert planned.document["search"]["trials"] == 5
    assert planned.seconds == pytest.approx(planned.estimate["seconds"].sum())
    assert set(planned.estimate["stage"]) >= {"lr-find", "search"}
    assert "5 trials" in repr(planned)
    assert "<table" in planned._repr_html_()
    assert not list(tmp_path.iterdir()), "a plan writes nothing"
    with pytest.raises(ablate.InputError, match="unknown argument 'trails'"):
        ablate.plan(model=net, data=DATA, trails=5)
