"""A small one-stage detector: convolutions, and at each place of the last feature map a box and a logit for each class."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

PRIOR = 0.05
"""The share of places with an object that the detector begins with (Lin et al. 2017, section 4.1, with 0.01)."""


class Predictions(nn.Module):
    """Feature maps `[B, 4 + classes, H, W]` -> predictions `[B, H W, 7 + classes]` (`seams/boxes.py`).

    A box is its place less and plus four distances, stride · softplus of the maps (as in FCOS, where it is exp).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        across = (torch.arange(maps.shape[3], device=maps.device) + 0.5) * self.stride
        down = (torch.arange(maps.shape[2], device=maps.device) + 0.5) * self.stride
        places = torch.stack([across.repeat(len(down)), down.repeat_interleave(len(across))], dim=1)
        columns = maps.flatten(2).transpose(1, 2)
        distances = self.stride * nn.functional.softplus(columns[..., :4])
        place = places.expand(len(maps), -1, 2)
        boxes = torch.cat([place - distances[..., :2], place + distances[..., 2:]], dim=2)
        return torch.cat([boxes, place, torch.ones_like(place[..., :1]), columns[..., 4:]], dim=2)


def detector(channels: int, widths: tuple[int, ...], classes: int, stride: int = 4) -> nn.Sequential:
    """Images `[B, C, H, W]` -> predictions `[B, A, 7 + classes]`, A = H W / stride²: the first convolutions halve the maps until `stride` is reached."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise((channels, *widths))):
        step = 2 if 2 ** (index + 1) <= stride else 1
        layers += [nn.Conv2d(before, after, 3, stride=step, padding=1), nn.ReLU()]
    head = nn.Conv2d(widths[-1], 4 + classes, 1)
    assert head.bias is not None
    with torch.no_grad():
        head.bias[:4] = 1.0
        head.bias[4:] = torch.logit(torch.tensor(PRIOR))
    return nn.Sequential(*layers, head, Predictions(stride))
