"""Stochastic weight averaging against torch.optim.swa_utils, lane by lane."""

from __future__ import annotations

import torch
from sweep import sweep
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ablate.catalogue.evaluation.swa import average, averaged, begin
from ablate.catalogue.registry import registry
from ablate.seams.facts import Facts
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

LAYOUT = Layout([Spec("w", (16,))])


@sweep("seed", range(5))
def test_the_mean_of_the_last_epochs_is_torchs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    epochs, per_epoch = 8 + seed, 3
    starts = torch.linspace(0.0, 1.0, 21).tolist()  # some are the end of an epoch, which does not count
    facts = Facts(None, epochs * per_epoch, per_epoch)
    p = Settings.stack(registry()["swa"], [{"start": s} for s in starts], torch.device("cpu"), torch.float64, facts)  # fmt: skip
    paths = torch.randn(epochs * per_epoch, 21, 16, generator=generator, dtype=torch.float64)
    state = begin(LaneTensors(LAYOUT, torch.zeros(21, 16, dtype=torch.float64)), p)
    models = [AveragedModel(nn.Linear(16, 1, bias=False, dtype=torch.float64)) for _ in starts]
    for step, flat in enumerate(paths, 1):
        average(state, LaneTensors(LAYOUT, flat), torch.full((21,), step), p)
        for lane, start in enumerate(starts):
            if step % per_epoch == 0 and step > start * epochs * per_epoch:
                source = nn.Linear(16, 1, bias=False, dtype=torch.float64)
                source.weight.data = flat[lane][None].clone()
                models[lane].update_parameters(source)
    last = LaneTensors(LAYOUT, paths[-1])
    mean_weights = averaged(state, last, p).flat
    for lane, model in enumerate(models):
        expected = model.module.weight[0] if model.n_averaged else last.flat[lane]
        torch.testing.assert_close(mean_weights[lane], expected.detach())
    assert torch.equal(mean_weights[-1], last.flat[-1]), "start = 1 never averages"


def test_the_mean_is_scored_from_the_first_epoch_that_counts_on() -> None:
    """Also between the ends of two epochs: of 4 epochs of 3 steps the third is the first that counts."""
    facts = Facts(None, 12, 3)
    p = Settings.stack(registry()["swa"], [{"start": 0.5}], torch.device("cpu"), torch.float64, facts)
    paths = torch.randn(13, 1, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = begin(LaneTensors(LAYOUT, paths[0]), p)
    for step in range(1, 13):
        now = LaneTensors(LAYOUT, paths[step])
        average(state, now, torch.tensor([step]), p)
        expected = paths[step] if step < 9 else paths[9] if step < 12 else (paths[9] + paths[12]) / 2
        torch.testing.assert_close(averaged(state, now, p).flat, expected)
