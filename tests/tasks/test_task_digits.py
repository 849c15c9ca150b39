"""The default task: its data, its splits and its model."""

import torch
from sklearn.datasets import load_digits

from ablate.tasks.load import load


def test_splits_are_a_partition_stratified_and_about_60_20_20():
    task = load("digits")
    assert [len(split) for split in task.splits.values()] == [1076, 362, 359]
    labels = torch.cat([split.y for split in task.splits.values()])
    assert labels.bincount().tolist() == torch.tensor(load_digits().target).bincount().tolist()
    for split in task.splits.values():
        share = split.y.bincount() / len(split)
        assert (share - 0.1).abs().max() < 0.006


def test_every_image_is_in_exactly_one_split():
    task = load("digits")
    pixels = torch.tensor(load_digits().data, dtype=torch.float64).reshape(-1, 1, 8, 8)
    train_mean, train_std = 4.888, 6.017
    ours = torch.cat([split.x for split in task.splits.values()]).double() * train_std + train_mean
    assert torch.allclose(ours.flatten(1).sum(1).sort()[0], pixels.flatten(1).sum(1).sort()[0], atol=0.2)


def test_training_images_have_mean_0_and_deviation_1():
    x = load("digits").train.x.double()
    assert abs(x.mean().item()) < 1e-6
    assert abs(x.std(correction=0).item() - 1) < 1e-6


def test_the_model_is_small_and_plain():
    task = load("digits")
    torch.manual_seed(0)
    model = task.model()
    assert sum(p.numel() for p in model.parameters()) == 7370
    assert model(task.train.x[:5]).shape == (5, 10)
    assert task.model() is not model
