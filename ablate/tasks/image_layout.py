"""Checks that images are `[N, C, H, W]`, as data tricks assume, and not channels-last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ablate.records.errors import InputError

CHANNELS = (1, 2, 3, 4)
"""Sizes of a dimension that probably are an image's channels."""


@contextmanager
def first_convolution_input(model: nn.Module) -> Iterator[list[list[int]]]:
    """Context: records the input shape of the model's first 2-D convolution in a forward pass; empty if it has none."""
    seen: list[list[int]] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not seen and inputs:
            seen.append(list(inputs[0].shape))

    handles = [layer.register_forward_pre_hook(note) for layer in model.modules() if isinstance(layer, nn.Conv2d)]  # fmt: skip
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def check_layout(shape: list[int], convolved: list[int] | None) -> None:
    """Raise InputError for images of `shape` `[N, H, W, C]`.

    convolved: the shape `[B, ...]` of the first convolution's input. If that is an image with its channels moved to
    the front, the model moves them itself; if it is the unchanged image, that is `[C, H, W]`. Without a convolution
    only the sizes decide.
    """
    height, width, channels = image = shape[1:]
    if convolved is None:
        last = channels in CHANNELS and height not in CHANNELS
    else:
        last = convolved[1:] == [channels, height, width] != image
    if last:
        raise InputError(
            f"x of shape {shape} looks like images with channels last, [N, H, W, C]",
            hint="give [N, C, H, W], for example x.transpose(0, 3, 1, 2) of an array, to the task and to the model; or say "
            'kind="other" to leave out what is for images',
        )
