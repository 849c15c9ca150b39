"""Two networks against each other: y float32 `[N, D]`, the real examples; outputs `[B, 4 + D]` of an `AdversarialPair`.

The loss is the standard GAN's in the non-saturating form (Goodfellow et al. 2014, section 3):

    l = softplus(−c(x)) + softplus(c(x̃)) + softplus(−c̄(x̃))

the critic's cross-entropy for a real and a generated example, and the generator's. At scores of zero it is 3 ln 2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ablate.seams.by_lane import softplus
from ablate.surgery.adversarial_pair import FAKE, FOR_GENERATOR, REAL, SCORES
from ablate.tasks import data
from ablate.tasks.metrics import by_lanes, float64, tree_sum

SCORE = "loss"
DIRECTIONS = 64
"""Directions of the sliced Wasserstein distance: the same for all runs."""


def targets(ys: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...], None]:
    """Real examples `[N, …]`, flattened."""
    return (
        {
            where: data.tensor(y, f"{where} y").to(torch.float32).flatten(1).contiguous()
            for where, y in ys.items()
        },
        (),
        None,
    )


def encoded(y: Tensor, classes: int | None) -> Tensor:
    return y


def example_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """`[K, B, 4 + D]` -> `[K, B]`."""
    real, fake, for_generator = outputs[..., REAL], outputs[..., FAKE], outputs[..., FOR_GENERATOR]
    return softplus(-real) + softplus(fake) + softplus(-for_generator)


def plain_loss(outputs: Tensor, y: Tensor) -> Tensor:
    return example_loss(outputs[None], y[None]).mean()


def hits(outputs: Tensor, target: Tensor) -> None:
    return None


def metrics(outputs: Tensor, y: Tensor, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Metrics of `METRICS["adversarial"]`: outputs `[K, N, 4 + D]`, y `[N, D]` or `[K, N, D]`; each value `[K]` float64."""
    return by_lanes(_metrics, "adversarial", outputs, y, only)


def _metrics(outputs: Tensor, y: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    real, generated = float64(y).expand(len(outputs), *y.shape[-2:]), outputs[..., SCORES:]
    count = outputs.shape[1]
    yield "sliced_wasserstein", lambda: sliced_wasserstein(real, generated)
    yield "critic_value", lambda: tree_sum(outputs[..., REAL] - outputs[..., FAKE]) / count
    yield "critic_rank_correlation", lambda: spearman(outputs[..., FAKE], -nearest(generated, real))
    yield "loss", lambda: tree_sum(example_loss(outputs, real)) / count


@lru_cache(maxsize=8)
def directions(dimensions: int) -> Tensor:
    """Unit vectors, float64 `[DIRECTIONS, D]`."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(DIRECTIONS, dimensions, generator=generator, dtype=torch.float64)
    length: Tensor = vectors.square().sum(dim=1, keepdim=True).sqrt()
    return vectors / length


def sliced_wasserstein(real: Tensor, generated: Tensor) -> Tensor:
    """√ of the mean over directions of the squared 2-Wasserstein distance of the projections: `[K, N, D]` twice -> `[K]`.

    Rabin et al. 2011 (doi.org/10.1007/978-3-642-24785-9_37). Between as many points the optimal plan pairs them in sorted order.
    """
    along = directions(real.shape[-1]).to(real.device)
    values = []
    for lane in range(len(real)):  # a product of one lane rounds the same in any group
        one, other = ((along @ points[lane].T).sort(dim=-1).values for points in (real, generated))
        values.append(tree_sum(tree_sum((one - other).square())) / one.numel())
    return torch.stack(values).sqrt()


def nearest(points: Tensor, others: Tensor) -> Tensor:
    """The distance of each of `points` `[K, N, D]` to the nearest of `others` `[K, M, D]`: `[K, N]`."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.stack(
        [
            torch.cdist(one, other, compute_mode=exact).amin(1)
            for one, other in zip(points, others, strict=True)
        ]
    )


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of ranks, ties sharing theirs: `[K, N]`, `[K, N]` -> `[K]`; 0 where either is constant."""
    a, b = (
        ranks - tree_sum(ranks)[:, None] / ranks.shape[1]
        for ranks in (average_ranks(one), average_ranks(other))
    )
    spread = (tree_sum(a.square()) * tree_sum(b.square())).sqrt()
    return torch.where(spread > 0, tree_sum(a * b) / spread.clamp(min=1e-300), 0.0)


def average_ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row, from 0, equal ones sharing the mean: `[K, N]` float64."""
    ordered = values.sort(dim=-1).values.contiguous()
    given = values.contiguous()
    below = torch.searchsorted(ordered, given)
    upto = torch.searchsorted(ordered, given, right=True)
    return (below + upto - 1).double() / 2


def example_scores(outputs: Tensor, y: Tensor) -> Tensor:
    """None: a generated example belongs to no real one."""
    return outputs.new_zeros(len(outputs), 0, dtype=torch.float64)


def constant(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Scores of zero, and the mean of the real examples as the only one that is generated."""
    scores = torch.zeros(SCORES, dtype=torch.float64)
    return torch.cat([scores, y.double().mean(dim=0)])[None, None]
