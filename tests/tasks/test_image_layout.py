"""Images with channels last are asked about, whether or not the model moves the channels itself."""

import pytest
import torch
from torch import nn

from ablate.records.errors import InputError
from ablate.tasks.check import check
from ablate.tasks.task import Task

Y = torch.arange(40) % 3


class Net(nn.Module):
    """A convolution over `channels`, after the images' last dimension was moved to the front where `turn`."""

    def __init__(self, channels, turn):
        super().__init__()
        self.turn, self.body, self.head = turn, nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        if self.turn:
            x = x.permute(0, 3, 1, 2)
        return self.head(self.body(x).mean((2, 3)))


def flat(features):
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(features, 3))


def checked(shape, model, **more):
    x = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0))
    return check(Task(model, (x, Y), test=False, **more))


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        ((8, 8, 3), lambda: Net(3, True)),
        ((6, 8, 5), lambda: Net(5, True)),
        ((8, 8, 3), flat(192)),
        ((9, 7, 1), flat(63)),
    ],
)
def test_channels_last_is_asked_about(shape, model):
    with pytest.raises(
        InputError, match=r"looks like images with channels last, \[N, H, W, C\]; give \[N, C, H, W\]"
    ):
        checked(shape, model)
    assert checked(shape, model, kind="other") == ()


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        ((3, 8, 8), lambda: Net(3, False)),
        ((1, 8, 3), lambda: Net(1, False)),
        ((16, 8, 3), lambda: Net(16, False)),  # features of another network: the convolution tells
        ((3, 3, 3), lambda: Net(3, False)),
        ((3, 8, 8), flat(192)),
    ],
)
def test_channels_first_is_taken_as_it_is(shape, model):
    assert checked(shape, model) == ()
