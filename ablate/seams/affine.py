"""Affine maps of images, each example by its own matrix."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_maps(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """[[a, b, 0], [c, d, 0]] for each example: four tensors `[K, B]` -> `[K, B, 2, 3]`."""
    zero = torch.zeros_like(a)
    return torch.stack([torch.stack([a, b, zero], -1), torch.stack([c, d, zero], -1)], -2)


def warped(x: Tensor, maps: Tensor) -> Tensor:
    """`x` `[K, B, C, H, W]` resampled by `maps` `[K, B, 2, 3]`: zeros outside, values between pixels bilinear.

    A map takes the coordinates of the *output* to those of the input, (horizontal, vertical), both from −1
    to 1 between the image's edges. Its linear part is in pixels, so that a rotation stays a rotation in non-square images.
    """
    height, width = x.shape[3:]
    ratio = height / width
    scale = torch.tensor([[1.0, ratio, 1.0], [1 / ratio, 1.0, 1.0]], dtype=x.dtype, device=x.device)
    flat = x.flatten(0, 1)
    grid = F.affine_grid((maps.to(x.dtype) * scale).flatten(0, 1), list(flat.shape), align_corners=False)
    return F.grid_sample(flat, grid, padding_mode="zeros", align_corners=False).view(x.shape)
