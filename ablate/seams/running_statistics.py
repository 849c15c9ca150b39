"""The running statistics of norm layers for weights that training has not seen, from one pass over batches.

    s ← (1 / M) Σ_b s_b,    s_b: statistics of batch b in training mode

The layers themselves compute s_b: a layer with momentum m that finds r leaves (1 − m) r + m s_b. From r = 0 it leaves m s_b, and from an r against which
s_b is nothing it leaves (1 − m) r, which tells m, whatever class the layer is of.
Lineage: Izmailov et al. 2018, section 3.2 (a pass over the data after averaging); `torch.optim.swa_utils.update_bn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

FAR = 2.0**60
COUNT = "num_batches_tracked"
"""torch's buffer from which a layer without a momentum takes 1 / number as one."""


def is_running(name: str) -> bool:
    """Whether a buffer follows the statistics of batches, by its name: torch's names, which the catalogue's norms keep to."""
    return name.rpartition(".")[2].startswith("running_")


def estimated(
    batches: Iterable[Tensor],
    run: Callable[[Tensor], object],
    buffers: Callable[[], Mapping[str, Tensor]],
    load: Callable[[Mapping[str, Tensor]], None],
) -> dict[str, Tensor]:
    """Every buffer by name, as a copy, with the mean running statistics of `batches`.

    run: a forward pass in training mode. buffers, load: read and set the models' buffers, which are left as they were.
    """
    before = {name: buffer.clone() for name, buffer in buffers().items()}
    kept: dict[str, Tensor] = {}
    total: dict[str, Tensor] = {}
    number = 0

    def passed(x: Tensor, start: float) -> dict[str, Tensor]:
        fresh = {name: torch.full_like(old, start) for name, old in before.items() if is_running(name)}
        load(fresh | {name: torch.zeros_like(old) for name, old in before.items() if name.endswith(COUNT)})
        run(x)
        return {
            name: value.to(torch.float64, copy=True) for name, value in buffers().items() if name in fresh
        }

    for x in batches:
        if not number:
            kept = {name: value / FAR for name, value in passed(x, FAR).items()}
        for name, value in passed(x, 0.0).items():
            total[name] = total[name] + value if number else value
        number += 1
    load(before)
    # Where everything is kept, the layer is not in use, or its momentum is 0.
    means = {
        name: torch.where(kept[name] < 1, value / (number * (1 - kept[name])), before[name]).to(
            before[name].dtype
        )
        for name, value in total.items()
    }
    return before | means
