"""The epoch whose weights are scored, and lanes that end before their budget: what the ports `choose` (early stopping) say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ablate.lanes.group import Group

Losses = Sequence[Sequence[float]]
"""Each lane's validation losses so far."""


def scored_epochs(group: Group, losses: Losses, device: torch.device) -> list[int]:
    """The epoch (the first is 1) whose weights are scored, for each lane: the last, unless a trick chooses another."""
    history = padded(losses, device)
    ages = [len(curve) for curve in losses]
    epochs = list(ages)
    for active, choose in group.ports("choose"):
        best, _ = choose(history, active.settings)
        for lane, on in enumerate(active.settings.on.tolist()):
            if on:
                epochs[lane] = int(best[lane]) + 1 - (history.shape[1] - ages[lane])
    return epochs


def stopped(group: Group, losses: Losses, device: torch.device) -> list[bool]:
    """Lanes that a trick ends before their budget."""
    stop = torch.zeros(len(losses), dtype=torch.bool)
    for active, choose in group.ports("choose"):
        stop |= choose(padded(losses, device), active.settings)[1].cpu() & active.settings.on.cpu()
    return stop.tolist()


def padded(losses: Losses, device: torch.device) -> Tensor:
    """K lanes' losses as `[K, E]` float64; those of younger lanes are padded at the left with infinity."""
    longest = max(map(len, losses))
    rows = [[float("inf")] * (longest - len(row)) + list(row) for row in losses]
    return torch.tensor(rows, dtype=torch.float64, device=device)
