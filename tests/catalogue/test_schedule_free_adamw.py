"""Schedule-Free AdamW against the paper's three sequences x, y, z; the average is what is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from optimizer_cases import Step, assert_equal_to
from sweep import sweep
from torch import Tensor

from ablate.catalogue.optimizer.schedule_free_adamw import averaged_point, share_of_last
from ablate.lanes.trainer import Trainer
from ablate.testing import suite


def paper(settings: Mapping[str, Any]) -> Step:
    beta1, beta2 = settings["beta1"], settings["beta2"]
    x: dict[str, np.ndarray] = {}
    z: dict[str, np.ndarray] = {}
    squares: dict[str, np.ndarray] = {}
    time, total, largest = 0, 0.0, 0.0

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        nonlocal time, total, largest
        time += 1
        rate = settings["lr"] * factor
        largest = max(largest, rate)
        total += largest**2
        c = largest**2 / total
        for name, tensor in weights.items():
            g = gradients[name].numpy()
            y = tensor.numpy().copy()
            z.setdefault(name, y)
            x.setdefault(name, y)
            squares[name] = beta2 * squares.get(name, 0 * g) + (1 - beta2) * g**2
            d = g / (np.sqrt(squares[name] / (1 - beta2**time)) + settings["eps"]) + settings["decay"] * y
            z[name] = z[name] - rate * d
            x[name] = (1 - c) * x[name] + c * z[name]
            tensor.copy_(torch.from_numpy((1 - beta1) * z[name] + beta1 * x[name]))

    return step


@sweep("seed", range(4))
def test_equals_the_paper(seed: int) -> None:
    assert_equal_to("schedule_free_adamw", paper, seed, lanes=25, steps=12)


@sweep("seed", range(5))
def test_the_average_follows_from_both_other_points(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, z = torch.randn(2, 4, 16, generator=generator, dtype=torch.float64)
    beta1 = torch.rand(4, 1, generator=generator, dtype=torch.float64) + 0.1
    torch.testing.assert_close(averaged_point((1 - beta1) * z + beta1 * x, z, beta1), x)


def test_points_are_weighed_by_the_square_of_the_largest_rate_so_far() -> None:
    """A rate of zero, as before a warmup, puts no weight on its point."""
    state = {name: torch.zeros(1, 1, dtype=torch.float64) for name in ("largest", "total")}
    shares = [
        share_of_last(state, torch.tensor([[rate]], dtype=torch.float64)).item()
        for rate in (0.0, 0.0, 0.1, 0.2, 0.1)
    ]
    np.testing.assert_allclose(shares, [0, 0, 1, 4 / 5, 4 / 9])


def test_the_average_is_scored_and_other_lanes_are_not_touched() -> None:
    checks = suite()
    context = checks.contexts["table"]
    trainer = Trainer(context, [checks.run(context, tricks) for tricks in ({"schedule_free_adamw": {}}, {})])
    for _ in range(5):
        trainer.step()
    lane = next(part for part in trainer.optimizers.parts if part.name == "schedule_free_adamw")
    scored = trainer.scored_weights().flat
    y, z = trainer.weights.flat[0], lane.state["z"][0]
    torch.testing.assert_close(scored[0], y + (z - y) * (1 - 1 / 0.9))
    assert not torch.equal(scored[0], y)
    assert torch.equal(scored[1], trainer.weights.flat[1])
    model = trainer.model(0).state_dict()
    assert torch.equal(model["0.weight"], trainer.scored_weights()["0.weight"][0])
